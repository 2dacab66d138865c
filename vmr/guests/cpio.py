"""Write a Linux initramfs: a cpio archive in the "newc" format.

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Writing it here, rather than
with the cpio tool, allows device nodes and root's ownership without being root.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable

import msgspec

_ALIGNMENT = 4


class Entry(msgspec.Struct, frozen=True):
    """One file of the archive: path without leading slash, type and permissions as in ``st_mode``, content, device number."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str, permissions: int = 0o755) -> Entry:
    """Return the entry of a folder."""
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, content: bytes, permissions: int = 0o755) -> Entry:
    """Return the entry of a regular file."""
    return Entry(path, stat.S_IFREG | permissions, content)


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """Return the entry of a character device node."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive of these entries, in this order (a folder before what is in it); the same input gives the same bytes."""
    out = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        _append(out, entry, inode)
    return bytes(out)


def _append(out: bytearray, entry: Entry, inode: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    out += b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    out += bytes(-len(out) % _ALIGNMENT)
    out += entry.content
    out += bytes(-len(out) % _ALIGNMENT)
