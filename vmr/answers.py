"""Reads answers out of a read model: a SELECT in, an `Answer` out, whatever its columns' types are.

Each answer is read in one transaction together with the cursor, so that it says exactly which sequence it reflects. Values
that JSON has no form for become text in SQL already (see `Answer`): fast, and without a loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import duckdb

from vmr.errors import QueryError
from vmr.query import Answer

_INTEGERS: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_PLAIN: Final = frozenset({"BOOLEAN", "VARCHAR", "FLOAT", "DOUBLE", *_INTEGERS})
_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
T = TypeVar("T")
_RFC_3339: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_INTERRUPT_PAUSE: Final = 0.05


class Select:
    """One SELECT that is asked for more than once: its columns are looked up the first time.

    Attributes:
        sql: the statement as it was given.

    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._wrapped: tuple[str, tuple[str, ...], tuple[str, ...]] | None = None

    def wrapped(
        self, connection: duckdb.DuckDBPyConnection, params: Any
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Return the statement that selects the same in JSON's types, the names of its columns, and their types."""
        if self._wrapped is None:
            # The line end keeps a comment at the statement's end from swallowing the bracket.
            inner = f"FROM (\n{self.sql}\n)"
            described = connection.execute(f"{inner} LIMIT 0", params).description or []
            aliases = [f"c{place}" for place in range(len(described))]
            types = tuple(str(column[1]).strip('"') for column in described)
            values = ", ".join(_wire(alias, type_) for alias, type_ in zip(aliases, types, strict=True))
            selected = f"SELECT {values} {inner} AS q({', '.join(aliases)})"
            self._wrapped = selected, tuple(column[0] for column in described), types
        return self._wrapped


def _wire(column: str, type_: str) -> str:
    if type_ in _PLAIN:
        return column
    if type_ == "TIMESTAMP WITH TIME ZONE":
        return f"strftime({column}, '{_RFC_3339}')"
    if type_ == "BLOB":
        return f"to_base64({column})"
    if type_.endswith("]") or type_.startswith(("STRUCT(", "MAP(", "UNION(")):
        return f"to_json({column})::VARCHAR"
    return f"{column}::VARCHAR"


def read(
    connection: duckdb.DuckDBPyConnection,
    select: Select,
    params: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Answer:
    """Return the answer of ``select``, of at most ``limit`` rows, in a transaction that cannot write.

    Raises `QueryError` with DuckDB's own words when it cannot be answered.
    """
    given = dict(params) if params else None
    try:
        connection.execute("BEGIN TRANSACTION READ ONLY")
        try:
            sequence = connection.execute("SELECT seq FROM log_cursor").fetchall()[0][0]
            sql, columns, types = select.wrapped(connection, given)
            rows = connection.execute(sql if limit is None else f"{sql} LIMIT {limit + 1:d}", given).fetchall()
        finally:
            connection.execute("ROLLBACK")
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    truncated = limit is not None and len(rows) > limit
    return Answer(sequence, columns, _finite(rows[:limit], types), types, truncated)


def _finite(rows: list[tuple[Any, ...]], types: Sequence[str]) -> list[tuple[Any, ...]]:
    floats = [place for place, type_ in enumerate(types) if type_ in _FLOATS]
    if not any(isinstance(row[place], float) and not math.isfinite(row[place]) for row in rows for place in floats):
        return rows
    return [tuple(_named(value) for value in row) for row in rows]


def _named(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def show_progress(connection: duckdb.DuckDBPyConnection) -> None:
    """Let `Work.progress` say how far the statements of ``connection`` are, without anything being printed."""
    try:
        connection.execute("SET enable_progress_bar = true")
    except duckdb.InvalidInputException:
        return  # in a notebook DuckDB would draw it, and refuses where it lacks the package for that; then nobody knows how far it is
    connection.execute("SET enable_progress_bar_print = false")


def fraction_done(connection: duckdb.DuckDBPyConnection) -> float | None:
    """Return how far the statement that runs on ``connection`` is, from 0 to 1, or None where DuckDB does not know."""
    percent = connection.query_progress()
    return min(percent / 100, 1.0) if percent >= 0 else None


def recover(connection: duckdb.DuckDBPyConnection, home: str) -> None:
    """Bring a connection whose statement was interrupted, wherever that was, back to outside of a transaction, in ``home``."""
    with contextlib.suppress(duckdb.TransactionException):  # mostly there is none
        connection.execute("ROLLBACK")
    connection.execute(f"USE {home}")


class Work:
    """A piece of work that `Readers` do: who waits for it may ask how far it is."""

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextlib.contextmanager
    def on(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Note, while this lasts, that it is done on ``connection``."""
        self._connection = connection
        try:
            yield
        finally:
            self._connection = None

    def progress(self) -> float | None:
        """Return how far its statement is, from 0 to 1; None when it waits, or where DuckDB does not know."""
        return None if self._connection is None else fraction_done(self._connection)


class Readers:
    """Some connections to one read model that read side by side, in threads; each answer has a time limit, and can be given up."""

    def __init__(self, connections: Sequence[duckdb.DuckDBPyConnection]) -> None:
        self._free: asyncio.Queue[duckdb.DuckDBPyConnection] = asyncio.Queue()
        for connection in connections:
            show_progress(connection)
            self._free.put_nowait(connection)
        ((self._home,),) = connections[0].execute("""SELECT format('"{}".main', current_database())""").fetchall()
        self._threads = ThreadPoolExecutor(len(connections), thread_name_prefix="reader")
        self._interrupted: set[asyncio.Task[None]] = set()

    async def run(self, do: Callable[[duckdb.DuckDBPyConnection], T], *, within: float, work: Work | None = None) -> T:
        """Return what ``do`` makes of a connection; raise `QueryError` when that takes longer than ``within`` seconds.

        Cancelled, it interrupts what runs. ``work`` then knows how far it is.
        """
        connection = await self._free.get()
        with (work or Work()).on(connection):
            future = asyncio.get_running_loop().run_in_executor(self._threads, do, connection)
            try:
                done, _ = await asyncio.wait({future}, timeout=within)
            except asyncio.CancelledError:
                self._interrupt(connection, future)
                raise
            if done:
                self._free.put_nowait(connection)
                return future.result()
            await asyncio.shield(self._interrupt(connection, future))
        raise QueryError(f"the answer took longer than {within:.3g} s: ask for less, or allow more time")

    def _interrupt(self, connection: duckdb.DuckDBPyConnection, future: asyncio.Future[Any]) -> asyncio.Task[None]:
        """Interrupt what ``future`` does on ``connection``, which is free again afterwards; return the task that does so."""
        task = asyncio.create_task(self._interrupting(connection, future))
        self._interrupted.add(task)
        task.add_done_callback(self._interrupted.discard)
        return task

    async def _interrupting(self, connection: duckdb.DuckDBPyConnection, future: asyncio.Future[Any]) -> None:
        pause = _INTERRUPT_PAUSE
        while not future.done():
            # Between two statements nobody hears it, so it is said again, ever less often.
            connection.interrupt()
            await asyncio.wait({future}, timeout=pause)
            pause *= 2
        future.exception()  # nobody waits for it
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, recover, connection, self._home)
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Wait for what is being read, which has been interrupted; the connections are their owner's."""
        if self._interrupted:
            await asyncio.wait(self._interrupted)
        self._threads.shutdown(cancel_futures=True)
