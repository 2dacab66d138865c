"""The file system of a simulated guest: paths and bytes in memory. Nothing of it touches the host."""

from __future__ import annotations

import errno
import fnmatch
import os
import posixpath
from collections.abc import Iterator
from typing import Final

_SYSTEM: Final = frozenset(
    f"/{name}"
    for name in [
        "",
        "bin",
        "dev",
        "etc",
        "home",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "tmp",
        "usr",
        "usr/bin",
        "usr/sbin",
        "var",
        "var/tmp",
    ]
)
_LINK_DEPTH: Final = 8


class File:
    """One file: its bytes, whether it is executable, and when it was changed (seconds since 1970)."""

    __slots__ = ("data", "executable", "modified")

    def __init__(self, data: bytes | bytearray = b"", modified: float = 0.0, *, executable: bool = False) -> None:
        self.data = data
        self.modified = modified
        self.executable = executable

    def append(self, data: bytes, now: float) -> None:
        """Write at the end."""
        self.write(len(self.data), data, now)

    def write(self, position: int, data: bytes, now: float) -> None:
        """Write at ``position``; a gap before it becomes zeros."""
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        if position > len(self.data):
            self.data += bytes(position - len(self.data))
        self.data[position : position + len(data)] = data
        self.modified = now


class FileSystem:
    """Files, folders and symbolic links by absolute path. Errors are the `OSError` that a real one answers."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self._folders: set[str] = set()
        self._links: dict[str, str] = {}

    def resolve(self, path: str) -> str:
        """Return the normal form of ``path``, links of its last part followed; raise `OSError` for a loop of links."""
        path = posixpath.normpath(posixpath.join("/", path))
        path = path[1:] if path.startswith("//") else path
        for _ in range(_LINK_DEPTH):
            target = self._links.get(path)
            if target is None:
                return path
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        raise _error(errno.ELOOP, path)

    def is_folder(self, path: str) -> bool:
        """Return whether a folder is there."""
        path = self.resolve(path)
        return path in _SYSTEM or path in self._folders

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there."""
        return self.resolve(path) in self.files or self.is_folder(path)

    def read(self, path: str) -> bytes:
        """Return a file's bytes; raises `FileNotFoundError` or `IsADirectoryError`."""
        return bytes(self.file(path).data)

    def file(self, path: str) -> File:
        """Return a file that exists; raises `FileNotFoundError` or `IsADirectoryError`."""
        resolved = self.resolve(path)
        if resolved not in self.files:
            raise _error(errno.EISDIR if self.is_folder(resolved) else errno.ENOENT, path)
        return self.files[resolved]

    def create(self, path: str, now: float = 0.0, data: bytes | bytearray = b"", *, executable: bool = False) -> File:
        """Make an empty file, or empty the one that is there; its folder must exist. Raises `OSError`."""
        resolved = self.resolve(path)
        if self.is_folder(resolved):
            raise _error(errno.EISDIR, path)
        parent = posixpath.dirname(resolved)
        if not self.is_folder(parent):
            raise _error(errno.ENOTDIR if parent in self.files else errno.ENOENT, path)
        existing = self.files.get(resolved)
        if existing is None:
            existing = self.files[resolved] = File(data, now, executable=executable)
        else:
            existing.data, existing.modified = data, now
        return existing

    def make_folder(self, path: str) -> None:
        """Make one folder; raises `FileExistsError` and the like."""
        resolved = self.resolve(path)
        if self.exists(resolved):
            raise _error(errno.EEXIST, path)
        if not self.is_folder(posixpath.dirname(resolved)):
            raise _error(errno.ENOENT, path)
        self._folders.add(resolved)

    def make_folders(self, path: str) -> None:
        """Make a folder and its missing parents; raises `FileExistsError` where a file stands in the way."""
        resolved = self.resolve(path)
        missing = []
        while not self.is_folder(resolved):
            if resolved in self.files:
                raise _error(errno.EEXIST, resolved)
            missing.append(resolved)
            resolved = posixpath.dirname(resolved)
        self._folders.update(missing)

    def link(self, path: str, target: str) -> None:
        """Make ``path`` a symbolic link to ``target``, whatever it was; those in the middle of a path are not followed."""
        resolved = posixpath.normpath(path)
        self.files.pop(resolved, None)
        self._links[resolved] = target

    def remove(self, path: str) -> None:
        """Remove a file, or a link and not what it points to; nothing happens when there is none."""
        resolved = posixpath.normpath(path)
        if self._links.pop(resolved, None) is None:
            self.files.pop(resolved, None)

    def rename(self, source: str, target: str) -> None:
        """Move a file to ``target``, or under its own name into the folder ``target``. Raises `OSError`."""
        file = self.file(source)
        if self.is_folder(target):
            target = posixpath.join(target, posixpath.basename(source))
        if not self.is_folder(posixpath.dirname(self.resolve(target))):
            raise _error(errno.ENOENT, target)
        del self.files[self.resolve(source)]
        self.files[self.resolve(target)] = file

    def move_contents(self, folder: str, target: str) -> None:
        """Move everything in ``folder`` but hidden names into the folder ``target``, made if anything is moved."""
        prefix = f"{folder}/"

        def moved(path: str) -> str:
            inside = path.startswith(prefix) and not path[len(prefix) :].startswith(".")
            return f"{target}/{path[len(prefix) :]}" if inside else path

        if any(moved(path) != path for path in (*self.files, *self._folders, *self._links)):
            self.make_folders(target)
        self.files = {moved(path): file for path, file in self.files.items()}
        self._folders = {moved(path) for path in self._folders}
        self._links = {moved(path): link for path, link in self._links.items()}

    def find(self, pattern: str) -> Iterator[str]:
        """Return, sorted, the files at ``pattern``, as a shell would expand it, and those in the folders at it."""
        parts = pattern.strip("/").split("/")
        for path in sorted(self.files):
            names = path[1:].split("/")
            pairs = zip(names, parts, strict=False)
            if len(names) >= len(parts) and all(_matches(name, part) for name, part in pairs):
                yield path


def _matches(name: str, part: str) -> bool:
    return (not name.startswith(".") or part.startswith(".")) and fnmatch.fnmatchcase(name, part)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
