"""`events_of`: the typed events of a run, one after another, wherever it is recorded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from os import PathLike, fspath

from vmr.events import Recorded
from vmr.loop_thread import LoopThread
from vmr.query import AsOf
from vmr.replay.selection import Types, Wanted, wanted
from vmr.replay.source import open_source
from vmr.replay.table import needs_record
from vmr.settings import Settings, load_settings

__all__ = ["Events", "Types", "events_of"]


class Events:
    """The events of a run: ``for recorded in events`` and ``async for recorded in events`` give the same.

    Each loop reads them anew, in constant memory; leaving it early closes what it had opened.
    """

    def __init__(self, source: str | None, chosen: Wanted, settings: Settings | None) -> None:
        self._source = source
        self._wanted = chosen
        self._settings = settings

    def __iter__(self) -> Generator[Recorded, None, None]:
        """Yield the events, in the order of the log."""
        loop = LoopThread("vmr events")
        batches = self._batches()
        try:
            while (batch := loop.run(_next(batches))) is not None:
                yield from batch
        finally:
            loop.run(batches.aclose())
            loop.stop()

    async def __aiter__(self) -> AsyncGenerator[Recorded, None]:
        """Yield the events, in the order of the log."""
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                for recorded in batch:
                    yield recorded

    async def _batches(self) -> AsyncGenerator[list[Recorded], None]:
        folded = needs_record(self._wanted.since, self._wanted.until)
        async with (
            open_source(self._source, self._settings or load_settings(), folded=folded) as source,
            aclosing(source.read(self._wanted)) as batches,
        ):
            async for batch in batches:
                yield batch


async def _next(batches: AsyncGenerator[list[Recorded], None]) -> list[Recorded] | None:
    return await anext(batches, None)


def events_of(
    source: str | PathLike[str] | None = None,
    *,
    vm: str | None = None,
    types: Types = None,
    since: AsOf | None = None,
    until: AsOf | None = None,
    settings: Settings | None = None,
) -> Events:
    """Return the events of a run, to be iterated with ``for`` or ``async for``.

    ``source`` is an archive, the file of a read model (``FILE#2``: its run 2), a run's number, the name of an experiment (its last run),
    or None for the present run of the database; ``settings`` say which database (default: those in force). ``vm`` is a VM's name or uuid:
    only events about it and its schedule. ``types`` are patterns such as ``vm.entry_*``. ``since`` and ``until`` are moments as for
    ``as_of``: a sequence (included), a time, or ``start+30s``. A run that goes on is read up to now.

    Iterating raises `InvalidInputError` when there is no such run, VM or moment, `DataError` for a file that is no record,
    `LogUnavailableError` when there is no database.

    ::

        for recorded in vmr.events_of("run.zip", vm="client-1", types="vm.entry_*"):
            print(recorded.sequence, recorded.event.time, recorded.event.body)
    """
    return Events(None if source is None else fspath(source), wanted(vm, types, since, until), settings)
