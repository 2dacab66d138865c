"""Messages of the log, read from Parquet files of events; their hash chain, checked."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from vmr import contract
from vmr.archive._chain import check_value, link
from vmr.projections import Query, load_queries

_STEP: Final = 8192
_MEMORY: Final = "1GB"


@cache
def queries() -> dict[str, Query]:
    """Return the SQL of archives, by name."""
    return load_queries(contract.projections() / "archive")


def connect(folder: Path | None = None) -> duckdb.DuckDBPyConnection:
    """Return an empty database in memory, with one thread and bounded memory; what exceeds it goes to ``folder``, or fails."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": _MEMORY,
        "autoinstall_known_extensions": False,
        "enable_external_file_cache": False,
        "temp_directory": "" if folder is None else str(folder),
    }
    connection = duckdb.connect(config=config)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def rows(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[list[tuple[int, int, str, bytes, int]]]:
    """Yield sequence, stored time (ns), subject, message and check value of the events in the Parquet file at ``path``, in order."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(queries()["messages"].sql, {"path": str(path)})
        while found := cursor.fetchmany(_STEP):
            yield found


class Database:
    """An empty database in memory that outlives what it reads.

    What a damaged Parquet file says can be what DuckDB takes for an error of its own, after which a database answers nothing any more.
    """

    def __init__(self) -> None:
        self.connection = connect()

    def failed(self, error: Exception) -> None:
        """Note an error that reading has ended with; where it has broken the database, another takes its place."""
        if isinstance(error, duckdb.InternalException | duckdb.FatalException):
            self.connection.close()
            self.connection = connect()


class Checked(msgspec.Struct, frozen=True):
    """What a look at a part has shown.

    Attributes:
        whole: how many of its events, from the first on, are proven to be as they were.
        head: head of the hash chain after the last of them.
        problem: what is wrong with the next one; empty when nothing is.

    """

    whole: int
    head: str
    problem: str = ""


def check(database: Database, path: Path, first: int, last: int, before: str, after: str | None) -> Checked:
    """Return how many events of the Parquet file at ``path`` are proven whole.

    Args:
        database: to read with.
        path: of the file, in which anything may be damaged.
        first: sequence that its first event must have.
        last: sequence that its last event must have.
        before: head of the hash chain before the first event.
        after: head after the last event; None where it is not known, and only the check values in the rows prove the events.

    """
    found = _follow(_rows_until_error(database, path), first, last, bytes.fromhex(before), after)
    if found.problem and after is not None:
        # Where only the check values are damaged, the events prove themselves by the head after them.
        again = _follow(_unchecked_rows(database, path), first, last, bytes.fromhex(before), after)
        return found if again.problem else again
    return found


_Row = tuple[int, int, str, bytes, int | None]


def _follow(rows: Iterator[_Row | str], first: int, last: int, before: bytes, after: str | None) -> Checked:
    """Walk along the chain. Once an event differs all later check values do: one that agrees again was damaged itself."""
    head = good_head = before
    expected = good = first
    problem = ""
    for row in rows:
        if isinstance(row, str):
            problem = problem or row
            break
        sequence, stored, subject, payload, value = row
        if sequence != expected or expected > last:
            problem = problem or f"there is event {sequence} in the place of event {expected}"
            break
        try:
            head = link(head, sequence, stored, subject, payload)
        except (struct.error, AttributeError, TypeError, UnicodeEncodeError):
            problem = problem or "its time, subject or message is impossible"
            break
        expected += 1
        if value is None or value == check_value(head):
            good, good_head, problem = expected, head, ""
        else:
            problem = problem or "it is not what the hash chain says"
    else:
        if expected <= last:
            problem = problem or "it is missing"
    if expected == last + 1 and after is not None:
        return _proven_by_head(good, good_head, head, first, last, after, problem)
    return Checked(good - first, good_head.hex(), problem)


def _proven_by_head(
    good: int, good_head: bytes, head: bytes, first: int, last: int, after: str, problem: str
) -> Checked:
    if head.hex() == after:
        return Checked(last - first + 1, after)
    if good == last + 1:
        # All check values agree, and yet the chain does not end where it should: nothing after the first can be told apart.
        return Checked(0, good_head.hex(), "the hash chain does not end in the head that is recorded for this part")
    return Checked(good - first, good_head.hex(), problem)


def _rows_until_error(database: Database, path: Path) -> Iterator[_Row | str]:
    """Yield the rows that can be read, and after them the reason why no more can be."""
    try:
        for batch in rows(database.connection, path):
            yield from batch
    except (duckdb.Error, UnicodeDecodeError, ValueError, OverflowError) as error:
        database.failed(error)
        yield _unreadable(error, path)


def _unchecked_rows(database: Database, path: Path) -> Iterator[_Row | str]:
    sql = f"SELECT seq, stored_ns, subject, payload FROM ({queries()['messages'].sql})"  # noqa: S608 - vmr's own
    try:
        with contextlib.closing(database.connection.cursor()) as cursor:
            cursor.execute(sql, {"path": str(path)})
            while found := cursor.fetchmany(_STEP):
                yield from ((*row, None) for row in found)
    except (duckdb.Error, UnicodeDecodeError, ValueError, OverflowError) as error:
        database.failed(error)
        yield _unreadable(error, path)


def _unreadable(error: Exception, path: Path) -> str:
    reason = str(error).partition("\n")[0].replace(f'"{path}"', "it").replace(str(path), "it")
    return f"it cannot be read ({reason[:200]})"
