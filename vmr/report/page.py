"""The page: a template, with its style and its script in it, and a policy by which a browser runs this script and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

_SCRIPTS: Final = ("format.js", "record.js", "picture.js", "timeline.js", "vms.js", "main.js")
_STATIC: Final = files("vmr.report") / "static"


def render(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the page for ``values`` (what the template names), piece by piece. Whatever is in them is escaped."""
    style, script = _text("report.css"), "\n".join(_text(name) for name in _SCRIPTS)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_text("page.html.j2"))
    # Style and script are vmr's own, and must stand in the page as they are hashed.
    own = {"style": Markup(style), "script": Markup(script), "policy": policy(style, script)}  # noqa: S704
    yield from template.generate({**values, **own})


def policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy that allows this style, this script, and nothing from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _text(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
