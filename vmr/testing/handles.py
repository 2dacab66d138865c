"""The file handles of a simulated guest's agent: C's ``fopen`` and friends over its files in memory."""

from __future__ import annotations

import errno
import os
from typing import Final, Literal, TypeAlias

from vmr.testing.filesystem import File
from vmr.testing.machine import Machine
from vmr.testing.windows_files import IN_USE

_MODES: Final = {f"{base}{plus}{binary}" for base in "rwa" for plus in ("", "+") for binary in ("", "b")} | {
    f"{base}b+" for base in "rwa"
}
_FIRST: Final = 1000  # as the stock agent numbers them
Whence: TypeAlias = Literal["set", "cur", "end"]


class Handle:
    """An open file: what it may do, and where it stands."""

    __slots__ = ("_append", "_machine", "_readable", "_writable", "eof", "file", "position")

    def __init__(self, machine: Machine, file: File, mode: str) -> None:
        self.file = file
        self.position = 0
        self.eof = False
        self._machine = machine
        self._readable = mode[0] == "r" or "+" in mode
        self._writable = mode[0] != "r" or "+" in mode
        self._append = mode[0] == "a"

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes and move on; ``eof`` then says whether the end was met. Raises `OSError`."""
        if not self._readable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._machine.settle()
        data = bytes(self.file.data[self.position : self.position + count])
        self.position += len(data)
        self.eof = not data if self._machine.windows else len(data) < count
        return data

    def write(self, data: bytes) -> None:
        """Write and move on. Raises `OSError`."""
        if not self._writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._append:
            self.position = len(self.file.data)
        self.file.write(self.position, data, self._machine.time())
        self.position += len(data)

    def seek(self, offset: int, whence: Whence) -> int:
        """Move, and return the position. Raises `OSError` for one before the start."""
        self._machine.settle()
        base = {"set": 0, "cur": self.position, "end": len(self.file.data)}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.position = base + offset
        self.eof = False
        return self.position


class Handles:
    """All open files of one agent. Its death forgets them; their numbers go on, as the stock agent's do."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._open: dict[int, Handle] = {}
        self._next = _FIRST

    def open(self, path: str, mode: str) -> int:
        """Open a file and return its handle's number; raises `OSError`, or `ValueError` for an unknown mode."""
        if mode not in _MODES:
            raise ValueError(mode)
        self._open[self._next] = Handle(self._machine, self._find(path, mode), mode)
        self._next += 1
        return self._next - 1

    def _find(self, path: str, mode: str) -> File:
        files = self._machine.files
        if path.startswith("/proc/") and not self._machine.windows:
            return File(self._machine.read(path))
        self._machine.settle()
        if (
            self._machine.locks
            and files.exists(path)
            and not files.is_folder(path)
            and files.file(path) in self._machine.locks
        ):
            raise OSError(errno.EACCES, IN_USE)
        if mode[0] == "r":
            return files.file(path)
        if mode[0] == "a" and files.resolve(path) in files.files:
            return files.file(path)
        return files.create(path, self._machine.time())

    def get(self, number: int) -> Handle:
        """Return a handle; raises `KeyError` when it is not open."""
        return self._open[number]

    def close(self, number: int) -> None:
        """Close a handle; raises `KeyError` when it is not open."""
        del self._open[number]

    def forget(self) -> None:
        """Forget every handle."""
        self._open.clear()
