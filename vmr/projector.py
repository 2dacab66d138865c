"""The projector: moves events of the log into the read model, batch by batch.

A batch is one DuckDB transaction: its events are inserted, the folds of the projections whose event types occur run over
them, and the cursor moves. A crash at any moment leaves rows and cursor agreeing, and the log is followed from the cursor on.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import duckdb
import structlog

from vmr import read_model
from vmr.checkpoints import Checkpoints
from vmr.cursor import CursorWatch
from vmr.errors import DataError
from vmr.event_columns import columns_of, insert
from vmr.eventlog import Objects, with_entries
from vmr.events import Recorded
from vmr.folding import Batch, Range
from vmr.projections import Fold, Projection, load_projections
from vmr.recent_events import SETTLED, RecentEvents, put_back
from vmr.schedule import ObjectRef
from vmr.sql_guard import lock_down
from vmr.statements import run, transaction

if TYPE_CHECKING:
    from vmr.log import AsyncLog

logger = structlog.get_logger(__name__)
_QUIET_SECONDS: Final = 1.0
_GATHERED: Final = 5000
"""Events that may gather while others are folded: as many as come at once from a long history."""
_MOVE_CURSOR: Final = "UPDATE log_cursor SET seq = ?, run = ?"


class EventSource(Protocol):
    """Where a projector's events come from: `vmr.log.AsyncLog`."""

    def follow(self, *, start: int) -> AsyncIterator[list[Recorded]]:
        """Return every event from sequence ``start`` on, in batches, for ever."""
        ...

    async def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content, checked against its hash."""
        ...


class Projector:
    """A read model and its place in the log. Not for several threads at once; readers take `reader`.

    Attributes:
        cursor: sequence of the last event that the read model reflects; 0 before the first.
        run: number of the current run; 0 before the first event.
        generation: how often the tables and views were replaced since it was opened.

    """

    def __init__(
        self,
        path: Path | str = ":memory:",
        *,
        threads: int = 2,
        folder: Path | None = None,
        beside: bool = False,
        prompt: bool = False,
    ) -> None:
        """Open the read model at ``path``, or make it, with the projections of ``folder`` (default: vmr's own).

        ``threads`` are DuckDB's. For a few events one is faster than two: handing them work takes longer than doing it.

        Projections that have changed are folded again first; with ``beside``, those of before go on meanwhile, and
        `rebuild_step` folds the new ones.

        A ``prompt`` one has single events sooner, and is for vmr's own queries. For that, they come to ``events`` by way of `vmr.recent_events`, and batches are not on
        disk when `apply` returns but at a checkpoint (`checkpoint`, `close`): for a file whose events are in a log that can be read again.
        """
        self._projections = load_projections(folder)
        self.generation = 0
        self._recent: RecentEvents | None = None
        self._checkpoints: Checkpoints | None = None
        self._connection = read_model.open_database(path, threads=threads, prompt=prompt)
        try:
            self._rebuild = read_model.prepare(self._connection, self._projections, beside=beside)
            self._folds = _folds(self._rebuild.live if self._rebuild else self._projections)
            self.cursor, self.run = self._connection.execute("SELECT seq, run FROM log_cursor").fetchall()[0]
            if prompt:
                self._recent = RecentEvents(self._connection)
                self._checkpoints = Checkpoints(self._connection, Path(path))
        except BaseException:
            self._connection.close()
            raise

    def begin(self, first: int, number: int) -> None:
        """Let an empty read model begin with the event at sequence ``first``, which is the first of run ``number``."""
        self.cursor, self.run = first - 1, number - 1
        run(self._connection, _MOVE_CURSOR, [self.cursor, self.run])

    def apply(self, batch: Sequence[Recorded]) -> int:
        """Fold ``batch`` in and return how many of its events were new.

        Events at or before the cursor are skipped. Raises `DataError` when an event is missing: the log has no gaps.
        """
        fresh = self._fresh(batch)
        if not fresh:
            return 0
        columns = columns_of(fresh, self.run)
        last, number = fresh[-1].sequence, columns["run"][-1]
        types = set(columns["type"])
        due = [fold for fold in self._folds if not types.isdisjoint(fold.events)]
        with transaction(self._connection):
            read_model.fold(self._connection, due, self._insert(columns))
            run(self._connection, _MOVE_CURSOR, [last, number])
        self.cursor, self.run = last, number
        if self._checkpoints is not None:
            self._checkpoints.after_commit()
        return len(fresh)

    def _insert(self, columns: dict[str, list[Any]]) -> Batch:
        """Insert the rows of ``columns``, and return what folds read them from."""
        table = "events"
        if self._recent is not None:
            if "fields" not in columns:
                return self._recent.insert(columns)
            self._recent.settle()
            table = SETTLED
        insert(self._connection, columns, table)
        return Range(columns["seq"][0], columns["seq"][-1], table)

    def wants_checkpoint(self, *, quiet: bool) -> bool:
        """Whether a `checkpoint` is worth it while no event waits, and none has come for a while if it is ``quiet``."""
        return self._checkpoints is not None and self._checkpoints.due(quiet=quiet)

    def checkpoint(self, *, quiet: bool) -> None:
        """See to it that the batches until now are on disk, where that is not so already; take more time for it while it is ``quiet``."""
        if self._checkpoints is not None:
            self._checkpoints.take(quiet=quiet)

    @property
    def rebuilding(self) -> bool:
        """Whether there is work for `rebuild_step`."""
        return self._rebuild is not None

    def rebuild_step(self) -> None:
        """Fold some more of the projections that are folded anew. Ones that fail are given up, and those of before stay."""
        if self._rebuild is None:
            return
        try:
            done = self._rebuild.step()
        except duckdb.Error as error:
            logger.exception("projections cannot be folded anew; those of before stay", error=str(error))
            self._rebuild.give_up()
            self._rebuild = None
            return
        if done:
            self._rebuild, self._folds = None, _folds(self._projections)
            self.generation += 1

    def _fresh(self, batch: Sequence[Recorded]) -> Sequence[Recorded]:
        fresh = [record for record in batch if record.sequence > self.cursor]
        for expected, record in enumerate(fresh, self.cursor + 1):
            if record.sequence != expected:
                raise DataError(f"the log has no event {expected}: event {record.sequence} came after {expected - 1}")
        return fresh

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Return a connection to the same read model, for reading in another thread."""
        return self._connection.cursor()

    def lock_down(self) -> None:
        """Close the database to files, extensions and changes of its configuration, for every reader, for good."""
        lock_down(self._connection)

    def event_id(self, sequence: int) -> str | None:
        """Return the id of the event at ``sequence``; None when the read model does not have it."""
        rows = self._connection.execute("SELECT id FROM events WHERE seq = ?", [sequence]).fetchall()
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Close the read model; what it holds is then on disk."""
        if self._checkpoints is not None:
            self._checkpoints.sync()
        if self._recent is not None:
            put_back(self._connection)
        self._connection.close()


def _folds(projections: Sequence[Projection]) -> list[Fold]:
    return [fold for projection in projections for fold in projection.folds]


def collect_garbage_seldom() -> None:
    """Let this process look for cyclic garbage seldom: decoding makes thousands of objects per batch, and no cycles.

    For the main function of a process that projects; it makes reading and folding a fifth faster.
    """
    gc.set_threshold(100_000, 50, 100)


async def open_projector(log: AsyncLog, path: Path, *, prompt: bool = False) -> Projector:
    """Return a projector with its read model at ``path``, made anew from ``log`` where that cannot be used.

    A ``prompt`` one is for those who wait for single events to be there. A read model of another log, or that DuckDB cannot read, is put
    aside as ``….unused``: the log has it all. Raises `LogUnavailableError` when another process has it open, `DataError` when the
    projections' own SQL is wrong.
    """
    load_projections()
    make = partial(Projector, path, beside=True, threads=1 if prompt else 2, prompt=prompt)
    try:
        projector = make()
    except DataError as error:
        logger.exception("the read model cannot be read, is put aside and made anew", path=str(path), error=str(error))
        _put_aside(path)
        projector = make()
    if await _belongs(projector, log):
        return await begin_with(projector, log)
    logger.warning("the read model is of another log and is made anew", path=str(path), cursor=projector.cursor)
    projector.close()
    _put_aside(path)
    return await begin_with(make(), log)


async def begin_with(projector: Projector, log: AsyncLog) -> Projector:
    """Let an empty read model begin where ``log`` begins: runs before that are in archives (`vmr log truncate`), and not in it."""
    if projector.cursor == 0:
        first, run = await log.beginning()
        if first > 1:
            logger.warning(
                "the log begins in the middle of the record, and so does this read model", first=first, run=run
            )
            projector.begin(first, run)
    return projector


async def fold_log(
    projector: Projector, log: AsyncLog, stop: int | None = None, tell: Callable[[int], None] | None = None
) -> None:
    """Fold what ``log`` holds after the projector's cursor, up to the sequence ``stop`` (or now); ``tell`` is told the cursor."""
    async for batch in log.read(start=projector.cursor + 1, stop=stop):
        await asyncio.to_thread(projector.apply, [await whole(log, recorded) for recorded in batch])
        if tell is not None:
            tell(projector.cursor)


def _put_aside(path: Path) -> None:
    for file in (path, path.with_name(f"{path.name}.wal")):
        if file.exists():
            file.replace(file.with_name(f"{file.name}.unused"))


async def _belongs(projector: Projector, log: AsyncLog) -> bool:
    if projector.cursor == 0:
        return True
    if await log.last_sequence() < projector.cursor:
        return False
    found = [
        record.event.id async for batch in log.read(start=projector.cursor, stop=projector.cursor) for record in batch
    ]
    return found == [projector.event_id(projector.cursor)]


async def run_projector(source: EventSource, projector: Projector, watch: CursorWatch | None = None) -> None:
    """Follow ``source`` from the projector's cursor on, for ever; tell ``watch`` of every step.

    While a batch is folded, the next one gathers: what has come by the end is one event when it is quiet, thousands when it is not.
    Projections that are folded anew get a step after every batch, and all the time that no events come. When none have come for
    a while, what there is goes to disk.
    """
    watch = watch or CursorWatch()
    watch.advance(projector.cursor)
    batches = source.follow(start=projector.cursor + 1)
    coming = asyncio.ensure_future(_next(source, batches))
    loop = asyncio.get_running_loop()

    def do(work: Callable[[], object]) -> None:
        work()
        loop.call_soon_threadsafe(watch.advance, projector.cursor, projector.generation)

    gathered: list[Recorded] = []
    folding: asyncio.Future[Any] | None = None
    stepped = quiet = False
    with ThreadPoolExecutor(1, thread_name_prefix="projector") as thread:
        try:
            while True:
                failed = coming.done() and coming.exception() is not None
                if coming.done() and not failed and len(gathered) < _GATHERED:
                    gathered += coming.result()
                    coming = asyncio.ensure_future(_next(source, batches))
                work: Callable[[], object] | None = None
                if folding is None and projector.rebuilding and not (stepped and (gathered or failed)):
                    work, stepped = projector.rebuild_step, True
                elif folding is None and gathered:
                    work, stepped = partial(projector.apply, gathered), False
                    gathered = []
                elif folding is None and failed:
                    coming.result()
                elif folding is None and projector.wants_checkpoint(quiet=quiet):
                    work = partial(projector.checkpoint, quiet=quiet)
                if work is not None:
                    folding = loop.run_in_executor(thread, do, work)
                done, _ = await asyncio.wait(
                    _under_way(coming, folding), timeout=_QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                quiet = folding is None and not done
                if folding is not None and folding.done():
                    folding.result()
                    folding = None
        finally:
            coming.cancel()
            await asyncio.wait({coming})


def _under_way(coming: asyncio.Future[list[Recorded]], folding: asyncio.Future[Any] | None) -> set[asyncio.Future[Any]]:
    """Return what to wait for: what has come already, and cannot be taken before the end of a fold, is no news."""
    if folding is None:
        return {coming}
    return {folding} if coming.done() else {coming, folding}


async def _next(source: EventSource, batches: AsyncIterator[list[Recorded]]) -> list[Recorded]:
    return [await whole(source, recorded) for recorded in await anext(batches)]


async def whole(source: Objects, recorded: Recorded) -> Recorded:
    """Return the event with a large schedule's entries in it. A schedule whose object is damaged must not stop the projector."""
    try:
        return await with_entries(source, recorded)
    except DataError as error:
        logger.exception("the entries of a schedule cannot be read", sequence=recorded.sequence, error=str(error))
        return recorded
