"""Archives: the record of one run in one file, which proves that it is whole and needs no server to be read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmr.archive._create import create_archive
    from vmr.archive._import import import_archive
    from vmr.archive._manifest import FORMAT, About, Manifest, Member, Part
    from vmr.archive._read import Archive, open_archive
    from vmr.archive._truncate import Truncated, truncate_log
    from vmr.archive._verify import Verdict, verify_archive

__all__ = [
    "FORMAT",
    "About",
    "Archive",
    "Manifest",
    "Member",
    "Part",
    "Truncated",
    "Verdict",
    "create_archive",
    "import_archive",
    "open_archive",
    "truncate_log",
    "verify_archive",
]

_MODULES = {
    "create_archive": "vmr.archive._create",
    "import_archive": "vmr.archive._import",
    "FORMAT": "vmr.archive._manifest",
    "About": "vmr.archive._manifest",
    "Manifest": "vmr.archive._manifest",
    "Member": "vmr.archive._manifest",
    "Part": "vmr.archive._manifest",
    "Archive": "vmr.archive._read",
    "open_archive": "vmr.archive._read",
    "Truncated": "vmr.archive._truncate",
    "truncate_log": "vmr.archive._truncate",
    "Verdict": "vmr.archive._verify",
    "verify_archive": "vmr.archive._verify",
}


def __getattr__(name: str) -> Any:
    """Load a module when something of it is asked for: the process that writes parts does without most of them, and begins sooner."""
    if name not in _MODULES:
        raise AttributeError(f"module 'vmr.archive' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
