"""The file system of a simulated Windows guest."""

from __future__ import annotations

import errno
import fnmatch
import posixpath
import re
from collections.abc import Iterator
from typing import Final

from vmr.testing.filesystem import FileSystem

IN_USE: Final = "The process cannot access the file because it is being used by another process."

_DRIVE: Final = re.compile(r"/?([A-Za-z]):(/.*)?")


class WindowsFileSystem(FileSystem):
    r"""Files by paths such as ``C:\folder\file``: either slash, any case; the first mention of a name says how it is spelled."""

    def __init__(self) -> None:
        super().__init__()
        self._spelled: dict[str, str] = {}
        self._folders.update(self.resolve(each) for each in ("C:\\", "C:\\Windows", "C:\\Users"))

    def resolve(self, path: str) -> str:
        """Return the inner form of a path, ``/C:/folder/file``; raise `OSError` for one that is not absolute."""
        slashed = path.replace("\\", "/")
        drive = _DRIVE.fullmatch(slashed)
        if drive is None and not slashed.startswith("/"):
            raise OSError(errno.ENOENT, "The system cannot find the path specified.", path)
        whole = posixpath.normpath(f"/C:{slashed}" if drive is None else f"/{drive[1].upper()}:{drive[2] or ''}")
        spelled = ""
        for part in whole.strip("/").split("/"):
            spelled = self._spelled.setdefault(f"{spelled}/{part}".lower(), f"{spelled}/{part}")
        return spelled

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when there is none."""
        self.files.pop(self.resolve(path), None)

    def find(self, pattern: str) -> Iterator[str]:
        """Return, sorted, the files at ``pattern``, which may hold wildcards, and those in the folders at it."""
        parts = self.resolve(pattern).lower().strip("/").split("/")
        for path in sorted(self.files):
            names = path.lower().strip("/").split("/")
            pairs = zip(names, parts, strict=False)
            if len(names) >= len(parts) and all(fnmatch.fnmatchcase(name, part) for name, part in pairs):
                yield path[1:].replace("/", "\\")
