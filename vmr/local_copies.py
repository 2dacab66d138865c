"""Copies of stored files on this host: one per content, whoever asks for it.

A copy lies at ``<folder>/<sha256>/<name>``, so its path ends with the file's name and says what is in it. Whoever makes one holds
the content's lock (threads and processes alike; the system takes it back from a process that dies); the others wait and find it
there. A copy appears under its name when all of it is there and right, and carries a mark of that: one that was changed since,
by whomever, is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from vmr.schedule import ObjectRef
from vmr.subjects import encode_token

_LOCK: Final = ".lock"
_LONGEST_NAME: Final = 200
_MARK_NS: Final = 1_000_000_000_000_000_000
"""The modification time of a copy that nobody has changed, in nanoseconds since the epoch (9 September 2001)."""

Fetch = Callable[[Path], None]
"""Writes a content to a path, which appears when all of it is there and right."""


class LocalCopies(msgspec.Struct, frozen=True):
    """The copies in one folder."""

    folder: Path

    def path(self, name: str, ref: ObjectRef) -> Path:
        """Return where the copy of the content ``ref`` under ``name`` is, or will be."""
        return self.folder / ref.sha256 / _file_name(name)

    def present(self, name: str, ref: ObjectRef) -> bool:
        """Return whether it is there, and as it was made."""
        return _is_whole(self.path(name, ref), ref)

    def get(self, name: str, ref: ObjectRef, fetch: Fetch) -> Path:
        """Return the path of the copy; ``fetch`` makes it when it is not there, once for all who ask at the same time."""
        path = self.path(name, ref)
        if not _is_whole(path, ref):
            with self.locked(ref):
                if not _is_whole(path, ref):
                    _make(path, ref, fetch)
        return path

    def made(self, name: str, ref: ObjectRef, make: Callable[[Path], None]) -> Path:
        """Return the path of what ``make`` makes of the content ``ref``, in an empty folder that it is given; it is made once.

        What is made is the folder itself, or what alone is in it.
        """
        path = self.path(name, ref)
        if not path.exists():
            with self.locked(ref):
                if not path.exists():
                    _make_in_folder(path, make)
        return path

    @contextlib.contextmanager
    def locked(self, ref: ObjectRef) -> Iterator[None]:
        """Hold the lock of the content ``ref``."""
        folder = self.folder / ref.sha256
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # A child that another thread forked meanwhile has the file open too: closing it here would not be enough.
                fcntl.flock(lock, fcntl.LOCK_UN)


def _file_name(name: str) -> str:
    """Return the file name for ``name``: itself, unless a file cannot be called so."""
    plain = bool(name) and "/" not in name and "\0" not in name and not name.startswith(".")
    try:
        fits = len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        fits = False
    if plain and fits:
        return name
    token = encode_token(name)
    return token if len(token) <= _LONGEST_NAME else hashlib.sha256(name.encode()).hexdigest()


def _is_whole(path: Path, ref: ObjectRef) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size == ref.size and found.st_mtime_ns == _MARK_NS


def _make(path: Path, ref: ObjectRef, fetch: Fetch) -> None:
    _clean(path.parent)
    twin = next((each for each in path.parent.iterdir() if each.is_file() and _is_whole(each, ref)), None)
    part = path.with_name(f".{path.name}.part")
    if twin is not None:
        os.link(twin, part)
    else:
        fetch(part)
        os.utime(part, ns=(_MARK_NS, _MARK_NS))
    part.replace(path)


def _make_in_folder(path: Path, make: Callable[[Path], None]) -> None:
    _clean(path.parent)
    part = path.with_name(f".{path.name}.part")
    part.mkdir()
    make(part)
    inside = list(part.iterdir())
    if len(inside) == 1:
        inside[0].replace(path)
        part.rmdir()
    else:
        part.replace(path)


def _clean(folder: Path) -> None:
    """Remove what a maker that died left behind; its lock is ours now."""
    for left in folder.glob(".*"):
        if left.name != _LOCK:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
