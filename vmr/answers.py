"""Reads answers out of a read model: a SELECT in, an `Answer` out, whatever its columns' types are.

Each answer is read in one transaction together with the cursor, so that it says exactly which sequence it reflects. Values
that JSON has no form for become text in SQL already (see `Answer`): fast, and without a loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
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


class Readers:
    """Some connections to one read model that read side by side, in threads; each answer has a time limit."""

    def __init__(self, connections: Sequence[duckdb.DuckDBPyConnection]) -> None:
        self._free: asyncio.Queue[duckdb.DuckDBPyConnection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._threads = ThreadPoolExecutor(len(connections), thread_name_prefix="reader")

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T], *, within: float) -> T:
        """Return what ``work`` makes of a connection; raise `QueryError` when that takes longer than ``within`` seconds."""
        connection = await self._free.get()
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, connection)
        future.add_done_callback(lambda _: self._free.put_nowait(connection))
        try:
            done, _ = await asyncio.wait({future}, timeout=within)
        except asyncio.CancelledError:
            connection.interrupt()
            raise
        if not done:
            connection.interrupt()
            with contextlib.suppress(QueryError):
                await future
            raise QueryError(f"the answer took longer than {within:g} s: ask for less, or allow more time")
        return future.result()

    def close(self) -> None:
        """Wait for what is being read, which has been interrupted; the connections are their owner's."""
        self._threads.shutdown(cancel_futures=True)
