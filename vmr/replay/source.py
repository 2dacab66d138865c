"""Where the events of a run are: a file, or the log of a server, or the record on disk when none runs; opened by one function."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Protocol

from vmr.errors import ServerNotFoundError
from vmr.events import Recorded
from vmr.log import connect_async
from vmr.opened.build import Tell
from vmr.opened.cache import Opened, opened
from vmr.query import AsOf
from vmr.record import as_file, is_archive, open_run
from vmr.replay.live import LogSource
from vmr.replay.selection import Wanted
from vmr.replay.table import TableSource
from vmr.settings import Settings


class Source(Protocol):
    """The events of one run, for asyncio.

    Attributes:
        first: sequence of the first event.
        last: sequence of the last event.
        database: name of the database that they were recorded in.

    """

    first: int
    last: int
    database: str

    async def sequence(self, moment: AsOf) -> int:
        """Return the sequence of the last event that was recorded by ``moment`` (see `vmr.as_of`)."""
        ...

    def read(self, wanted: Wanted) -> AsyncGenerator[list[Recorded], None]:
        """Yield the events that are wanted, in order, in batches."""
        ...

    async def bounds(self, wanted: Wanted) -> tuple[int, int]:
        """Return the first and the last sequence that may be wanted."""
        ...


class FileSource:
    """A `TableSource` for asyncio: its queries run in threads."""

    def __init__(self, table: TableSource) -> None:
        self._table = table
        self.first = table.first
        self.last = table.last
        self.database = table.database

    async def sequence(self, moment: AsOf) -> int:
        """Return the sequence of the last event that was recorded by ``moment``."""
        return await asyncio.to_thread(self._table.sequence, moment)

    async def bounds(self, wanted: Wanted) -> tuple[int, int]:
        """Return the first and the last sequence that may be wanted."""
        return await asyncio.to_thread(self._table.bounds, wanted)

    async def read(self, wanted: Wanted) -> AsyncGenerator[list[Recorded], None]:
        """Yield the events that are wanted, in order, in batches."""
        batches = self._table.read(wanted)
        coming: asyncio.Future[list[Recorded] | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
                batch = await asyncio.shield(coming)
                if batch is None:
                    return
                yield batch
        finally:
            if coming is not None:
                await asyncio.wait({coming})  # a thread cannot be cancelled, and a generator that runs cannot be closed
            await asyncio.to_thread(batches.close)


@contextlib.contextmanager
def open_table(
    source: str | None, settings: Settings, *, folded: bool = True, tell: Tell | None = None
) -> Iterator[TableSource]:
    """Yield the events of a run as `vmr.record.open_run` finds it; without ``folded``, an archive's read model may be missing."""
    file, _ = as_file(source)
    with contextlib.ExitStack() as stack:
        found: Opened | None = None
        if file is not None and is_archive(file):
            found = stack.enter_context(opened(file, folded=folded, tell=tell))
            record: Path = found.record
        else:
            record = stack.enter_context(open_run(source, settings))
        yield stack.enter_context(contextlib.closing(TableSource(record, found)))


@contextlib.asynccontextmanager
async def open_source(
    source: str | None, settings: Settings, *, folded: bool = True, tell: Tell | None = None
) -> AsyncIterator[Source]:
    """Yield the events of the run that ``source`` names: an archive, a read model's file (``FILE#2``: its run 2), or a run of the database.

    A database whose server does not run is read from disk. Without ``folded`` an archive is only unpacked, which is enough unless moments
    are asked for that count from the start. Raises `InvalidInputError` when there is no such run or file.
    """
    if as_file(source)[0] is None:
        async with contextlib.AsyncExitStack() as stack:
            try:
                log = await stack.enter_async_context(connect_async(settings=settings, create=False))
            except ServerNotFoundError:
                if not settings.embedded:
                    raise
            else:
                yield await LogSource.find(log, source)
                return
    table = open_table(source, settings, folded=folded, tell=tell)
    opened_table = await asyncio.to_thread(table.__enter__)
    try:
        yield FileSource(opened_table)
    finally:
        await asyncio.to_thread(table.__exit__, None, None, None)
