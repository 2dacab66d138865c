"""Files of a guest through its agent: the agent's own file commands, and whole files in chunks over them."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, Literal

from vmr.agent_connection import TIMEOUT, AgentConnection
from vmr.agent_messages import Chunk, Position, Written
from vmr.errors import GuestError

WRITE_CHUNK: Final = 512 << 10
READ_CHUNK: Final = 1 << 20
"""Bytes in one read or write. More is not faster, and a guest with little memory loses its agent over 16 MiB."""

MAX_FILE: Final = 64 << 20
"""Largest file, in bytes, that `AgentFiles.read_file` returns whole; larger ones are for `AgentFiles.read_chunks`."""

SLOWEST: Final = 200_000
"""Bytes per second that a time-out allows for. An emulated guest moves ten times as much when its host is not busy."""


def reply_size(content: int) -> int:
    """Return how long a reply with ``content`` bytes of base64-coded content may be, in bytes."""
    return content * 4 // 3 + (64 << 10)


async def _read(source: BinaryIO) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.read(WRITE_CHUNK)
    return await asyncio.to_thread(
        source.read, WRITE_CHUNK
    )  # a disk may take its time; other guests must not wait for it


class AgentFiles(AgentConnection):
    """The file commands. A handle dies with the agent; every wait is bounded, growing with the size moved."""

    async def file_open(self, path: str, mode: str = "r") -> int:
        """Open a file of the guest as C's ``fopen`` does and return its handle. Handles die with the agent."""
        return await self.request("guest-file-open", {"path": path, "mode": mode}, int, TIMEOUT)

    async def file_close(self, handle: int) -> None:
        """Close a file; what was written is then with the guest's operating system."""
        await self.exchange("guest-file-close", {"handle": handle}, TIMEOUT)

    async def file_flush(self, handle: int) -> None:
        """Hand what was written to the guest's operating system."""
        await self.exchange("guest-file-flush", {"handle": handle}, TIMEOUT)

    async def file_seek(self, handle: int, offset: int, whence: Literal["set", "cur", "end"] = "set") -> int:
        """Move a handle to ``offset`` bytes from the start, from where it is, or from the end; return its position."""
        arguments = {"handle": handle, "offset": offset, "whence": whence}
        return (await self.request("guest-file-seek", arguments, Position, TIMEOUT)).position

    async def file_read(self, handle: int, count: int = READ_CHUNK) -> Chunk:
        """Read up to ``count`` bytes (at most 48 MB). After the end of the file, read on when it has grown."""
        arguments = {"handle": handle, "count": count}
        timeout = TIMEOUT + count / SLOWEST
        chunk = await self.request("guest-file-read", arguments, Chunk, timeout, reply_size(count))
        if len(chunk.data) != chunk.count or chunk.count > count:
            raise GuestError(
                f"guest {self.name}: guest-file-read: {len(chunk.data)} bytes came, {chunk.count} were told"
            )
        return chunk

    async def file_write(self, handle: int, data: bytes) -> int:
        """Write ``data`` (less than 48 MiB) and return how many bytes of it were written."""
        arguments = {"handle": handle, "buf-b64": data}
        count = (await self.request("guest-file-write", arguments, Written, TIMEOUT + len(data) / SLOWEST)).count
        if count > len(data):
            raise GuestError(
                f"guest {self.name}: guest-file-write: {count} bytes of {len(data)} are said to be written"
            )
        return count

    @contextlib.asynccontextmanager
    async def opened(self, path: str, mode: str = "r") -> AsyncIterator[int]:
        """Open a file for the length of a ``async with`` block, which gets its handle."""
        handle = await self.file_open(path, mode)
        try:
            yield handle
        except BaseException as error:
            try:
                await self.file_close(handle)
            except GuestError as second:
                error.add_note(f"handle {handle} stays open in the guest: {second}")
            raise
        await self.file_close(handle)

    async def read_chunks(self, path: str, offset: int = 0, limit: int | None = None) -> AsyncIterator[bytes]:
        """Yield a file's bytes from ``offset``, in pieces: to its present end, or ``limit`` bytes at most."""
        left = limit
        async with self.opened(path) as handle:
            if offset:
                await self.file_seek(handle, offset)
            while left is None or left > 0:
                chunk = await self.file_read(handle, READ_CHUNK if left is None else min(READ_CHUNK, left))
                if chunk.data:
                    yield chunk.data
                if chunk.eof or not chunk.data:
                    return
                left = None if left is None else left - chunk.count

    async def read_file(self, path: str, offset: int = 0, limit: int | None = None) -> bytes:
        """Return a file's bytes from ``offset``: ``limit`` of them at most, or all.

        Raises `GuestError` when no limit is given and there are more than 64 MiB.
        """
        pieces = [piece async for piece in self.read_chunks(path, offset, MAX_FILE + 1 if limit is None else limit)]
        data = b"".join(pieces)
        if limit is None and len(data) > MAX_FILE:
            raise GuestError(
                f"guest {self.name}: {path} has more than {MAX_FILE} bytes; read it in pieces (read_chunks)"
            )
        return data

    async def write_file(self, path: str, data: bytes | Path, *, append: bool = False) -> int:
        """Write ``data``, or the content of a file of the host, to a file of the guest; return how many bytes it were.

        The folder must exist. What the file held before is lost unless ``append``. After an error the file may hold a
        part. Raises `OSError` when the host's file cannot be read.
        """
        source: BinaryIO = data.open("rb") if isinstance(data, Path) else io.BytesIO(data)
        with source:
            async with self.opened(path, "ab" if append else "wb") as handle:
                size = 0
                while piece := await _read(source):
                    size += await self._write_all(handle, piece)
        return size

    async def _write_all(self, handle: int, data: bytes) -> int:
        done = 0
        while done < len(data):
            count = await self.file_write(handle, data[done:])
            if count == 0:
                raise GuestError(f"guest {self.name}: guest-file-write: nothing was written; is the guest's disk full?")
            done += count
        return done
