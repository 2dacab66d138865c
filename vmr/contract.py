"""Where the contract of the log (``streams/``) and the read model (``projections/``) are.

An installed package carries both as data; a checkout reads them from its top level, so that an edited file takes effect at once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str) -> Path:
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"vmr's own folder {name!r} is missing beside {_PACKAGE}: reinstall vmr")


@cache
def streams() -> Path:
    """Return the folder with stream definitions, subject grammar, event schemas and golden examples."""
    return _find("streams")


@cache
def projections() -> Path:
    """Return the folder with the SQL of the read model, one file per projection."""
    return _find("projections")
