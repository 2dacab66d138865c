"""A process that writes parts while its caller reads the log: in one process the two would wait for each other all the time.

Frames go both ways over standard input and output: four bytes with the length, and MessagePack. A request is a list of messages and
a list of the heads of the hash chain after each; empty ones ask for what is left. Each is answered with the parts that are finished by
then. Some requests may be under way at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import duckdb
import msgspec

from vmr.archive._chain import Chain
from vmr.archive._parts import Finished, PartWriter
from vmr.errors import DataError
from vmr.messages import Raw

_AHEAD: Final = 16
_BUFFER: Final = 48 << 20
"""Bytes of messages that may wait for the writer: what is read while it finishes a part, or starts."""
_LENGTH: Final = struct.Struct(">I")
_FEW: Final = 20_000
_PIPE: Final = 1024 * 1024
_PROGRAM: Final = f"from {__name__} import main; main()"


class Begin(msgspec.Struct, frozen=True):
    """What a writer of parts begins with; see `PartWriter`."""

    folder: str
    first: int
    run: int
    head: bytes
    events: int
    size: int

    def chain(self) -> Chain:
        """Return the hash chain that begins so."""
        return Chain(self.head, self.first)

    def writer(self) -> PartWriter:
        """Return the writer that begins so."""
        return PartWriter(Path(self.folder), self.first, self.run, self.head, events=self.events, size=self.size)


class _Answer(msgspec.Struct, frozen=True):
    """What has been done: the parts that are finished, or why it failed."""

    finished: list[Finished]
    refused: str = ""


class PartsMaker(Protocol):
    """Makes parts of the messages that it gets."""

    async def add(self, batch: Sequence[Raw]) -> list[Finished]:
        """Take messages; return parts that have become full since the last call. Raises `DataError` and `OSError`."""
        ...

    async def finish(self) -> list[Finished]:
        """Return every part that is not returned yet, the last one however short. Raises `DataError` and `OSError`."""
        ...

    async def close(self) -> None:
        """End the work, whether or not it is done."""
        ...


async def make_parts(begin: Begin, last: int) -> PartsMaker:
    """Return what makes the parts up to the event ``last``: in this process when these are few, else in one of its own."""
    if last - begin.first < _FEW:
        return _Here(begin)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, stdin=PIPE, stdout=PIPE)
    made = _Elsewhere(process, begin)
    await made.begin()
    return made


class _Here:
    def __init__(self, begin: Begin) -> None:
        self._chain = begin.chain()
        self._writer = begin.writer()

    async def add(self, batch: Sequence[Raw]) -> list[Finished]:
        return await asyncio.to_thread(lambda: list(self._writer.add(batch, self._chain.link(batch))))

    async def finish(self) -> list[Finished]:
        return await asyncio.to_thread(lambda: list(self._writer.finish()))

    async def close(self) -> None:
        self._writer.close()


class _Elsewhere:
    def __init__(self, process: Process, begin: Begin) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self._under_way = 0
        # The chain is made here, because the process there has more to do.
        self._chain = begin.chain()
        self._begin = begin
        self._to.transport.set_write_buffer_limits(high=_BUFFER, low=_BUFFER // 2)

    async def begin(self) -> None:
        """Say what to begin with."""
        await self._send(msgspec.msgpack.encode(self._begin))

    async def add(self, batch: Sequence[Raw]) -> list[Finished]:
        await self._send(msgspec.msgpack.encode((batch, self._chain.link(batch))))
        self._under_way += 1
        return await self._answers(_AHEAD)

    async def finish(self) -> list[Finished]:
        await self._send(msgspec.msgpack.encode(([], [])))
        self._under_way += 1
        return await self._answers(0)

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        self._to.close()
        await self._process.wait()

    async def _send(self, frame: bytes) -> None:
        try:
            self._to.write(_LENGTH.pack(len(frame)) + frame)
            await self._to.drain()
        except (BrokenPipeError, ConnectionResetError):
            await self._answers(0)
            raise self._ended() from None

    async def _answers(self, left: int) -> list[Finished]:
        """Return the parts in the answers that have to come before only ``left`` requests are under way."""
        finished: list[Finished] = []
        while self._under_way > left:
            try:
                (length,) = _LENGTH.unpack(await self._from.readexactly(_LENGTH.size))
                answer = msgspec.msgpack.decode(await self._from.readexactly(length), type=_Answer)
            except asyncio.IncompleteReadError:
                raise self._ended() from None
            self._under_way -= 1
            if answer.refused:
                raise OSError(errno.EIO, answer.refused)
            finished += answer.finished
        return finished

    def _ended(self) -> DataError:
        return DataError(f"the process that writes the parts has ended (exit code {self._process.returncode})")


def main() -> None:
    """Write parts until there are no more requests."""
    # Ctrl-C is its caller's, who ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is made here by the million has no cycles, and looking for some takes a fifteenth of the time.
    gc.disable()
    with contextlib.suppress(OSError):
        # A batch at a time, and not twenty pieces of it; a system may refuse, and then it is only slower.
        fcntl.fcntl(sys.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
    begin = _read(sys.stdin.buffer)
    if begin is None:
        return
    writer = msgspec.msgpack.decode(begin, type=Begin).writer()
    batches = msgspec.msgpack.Decoder(tuple[list[Raw], list[bytes]])
    # A caller that has died reads no answers, and wants none.
    with contextlib.suppress(BrokenPipeError), open(1, "wb", buffering=0, closefd=False) as answers:
        while (frame := _read(sys.stdin.buffer)) is not None:
            answer = msgspec.msgpack.encode(_do(writer, *batches.decode(frame)))
            answers.write(_LENGTH.pack(len(answer)) + answer)


def _read(source: BinaryIO) -> bytes | None:
    begin = source.read(_LENGTH.size)
    return source.read(_LENGTH.unpack(begin)[0]) if len(begin) == _LENGTH.size else None


def _do(writer: PartWriter, batch: list[Raw], heads: list[bytes]) -> _Answer:
    try:
        return _Answer(list(writer.add(batch, heads) if batch else writer.finish()))
    except (OSError, duckdb.IOException) as error:
        return _Answer([], refused=str(error))
