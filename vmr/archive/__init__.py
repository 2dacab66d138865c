"""Archives: the record of one run in one file, which proves that it is whole and needs no server to be read."""

from __future__ import annotations

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
