"""The JSON Schemas of the events in ``streams/schemas``, made from the event types.

``python -m vmr.log.schemas`` writes them; a test fails when they differ from the types. The schema of an older version stays as
it was when that version was the current one.
"""

from __future__ import annotations

import inspect
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from vmr import contract
from vmr.events import BODY_TYPES, KnownBody

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EVENT_FIELDS: list[tuple[str, Any]] = [
    ("id", Annotated[str, msgspec.Meta(description="time-ordered unique id; also the message id on the wire")]),
    ("time", Annotated[datetime, msgspec.Meta(tz=True, description="the producer's clock, UTC, microseconds")]),
    ("producer", Annotated[str, msgspec.Meta(description="who says so")]),
]


def schema_of(body: type[KnownBody]) -> dict[str, Any]:
    """Return the JSON Schema of a whole event with a body of this type, at its current version."""
    # Unknown fields are allowed: a later vmr may add some without a new version.
    event = msgspec.defstruct("Event", [*_EVENT_FIELDS, ("version", int), ("body", body)], kw_only=True)
    (plain,), definitions = msgspec.json.schema_components([event])
    whole = _tidy({"$defs": dict(definitions)} | plain)
    root = whole["$defs"].pop("Event")
    root["properties"]["version"] = {"const": body.VERSION}
    root.pop("description", None)
    return {
        "$schema": _DIALECT,
        "$id": f"vmr:{body.type_name()}.v{body.VERSION}",
        **root,
        "title": f"{body.type_name()}, version {body.VERSION}",
        "$defs": whole["$defs"],
    }


def _tidy(node: Any) -> Any:
    """Return ``node`` with references and descriptions as they are the same for every version of Python."""
    if isinstance(node, dict):
        tidied = {key: _tidy(value) for key, value in node.items()}
        if isinstance(tidied.get("description"), str):
            tidied["description"] = inspect.cleandoc(tidied["description"])
        return tidied
    return [_tidy(item) for item in node] if isinstance(node, list) else node


def file_of(body: type[KnownBody], folder: str = "schemas") -> Path:
    """Return where the schema of an event type (or its examples, in ``golden``) lies."""
    return contract.streams() / folder / f"{body.type_name()}.v{body.VERSION}.json"


def text_of(body: type[KnownBody]) -> str:
    """Return the contents of the schema's file."""
    return msgspec.json.format(msgspec.json.encode(schema_of(body)), indent=2).decode() + "\n"


def main() -> None:
    """Write the schema of every event type."""
    for body in BODY_TYPES.values():
        file_of(body).write_text(text_of(body))


if __name__ == "__main__":
    main()
