"""The DuckDB database behind the projections: opened, brought up to the SQL of today, and read.

The table ``projections`` remembers from which text each projection was folded. One whose text has changed is folded again from
``events``; when the columns of ``events`` themselves have changed, everything is thrown away and the log is read again from its
first event. Both happen in one transaction, so that a crash leaves the read model as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import structlog

from vmr.errors import DataError, LogUnavailableError
from vmr.event_columns import KINDS
from vmr.projections import Fold, Projection

_MADE: Final = re.compile(r"^CREATE (TABLE|VIEW) (\w+)", re.MULTILINE)
# A checkpoint holds up the fold that it comes after: seldom ones are worth a longer write-ahead log.
_SETTINGS: Final = "SET GLOBAL TimeZone = 'UTC'; SET GLOBAL checkpoint_threshold = '64MB'"
_REBUILD_STEP: Final = 100_000
_MEMORY: Final = "1GB"
"""What the database of a file may take; in memory it takes what it needs."""
FOLD_STEP: Final = 500_000
"""Events that `fold_all` folds in one transaction: enough to be fast, few enough for the memory of a small machine."""
_BATCH_VIEW: Final = """
CREATE TEMP VIEW batch AS SELECT * FROM events
WHERE seq BETWEEN getvariable('batch_first') AND getvariable('batch_last')
"""
_MOVE_CURSOR: Final = "UPDATE log_cursor SET seq = e.seq, run = e.run FROM events AS e WHERE e.seq = ?"

log = structlog.get_logger(__name__)


def open_database(path: Path | str, *, threads: int) -> duckdb.DuckDBPyConnection:
    """Open the database at ``path`` (``:memory:`` for one without a file), which shows times in UTC.

    Raises `LogUnavailableError` when another process has it open, `DataError` when it cannot be read.
    """
    options: dict[str, Any] = {"threads": threads, "autoinstall_known_extensions": False}
    if str(path) != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        options |= {"memory_limit": _MEMORY}
    try:
        connection = duckdb.connect(str(path), config=options)
    except duckdb.Error as error:
        if "lock" in str(error):
            raise LogUnavailableError(
                f"read model {path} is open in another process; stop that projector first (`vmr status`)"
            ) from error
        raise DataError(f"read model {path} cannot be opened: {error}; delete it, the log has it all") from error
    connection.execute(_SETTINGS)
    return connection


def prepare(connection: duckdb.DuckDBPyConnection, projections: Sequence[Projection]) -> None:
    """Make the read model in ``connection`` one of ``projections``, folding again what was folded from other text."""
    connection.execute("BEGIN")
    try:
        _prepare(connection, projections)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("SET VARIABLE batch_first = 0; SET VARIABLE batch_last = 0")
    connection.execute(_BATCH_VIEW)


def _prepare(connection: duckdb.DuckDBPyConnection, projections: Sequence[Projection]) -> None:
    installed = _installed(connection)
    first, *others = projections
    if installed.get(first.name, ("", []))[0] != _hash(first):
        for _, objects in installed.values():
            _drop(connection, objects)
        installed = {}
        _install(connection, first)
    for projection in others:
        old = installed.pop(projection.name, ("", []))
        if old[0] != _hash(projection):
            _drop(connection, old[1])
            _forget(connection, projection.name)
            _install(connection, projection)
            _fold_again(connection, projection)
    for name in installed.keys() - {first.name}:
        _drop(connection, installed[name][1])
        _forget(connection, name)


def _hash(projection: Projection) -> str:
    """Return what the projection is made of; the first holds the columns that Python fills, which count as well."""
    columns = repr(KINDS) if projection.name == "events" else ""
    return hashlib.sha256(f"{projection.hash}{columns}".encode()).hexdigest()


def _installed(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, list[str]]]:
    tables = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'projections'").fetchall()
    if tables[0][0] == 0:
        return {}
    rows = connection.execute("SELECT name, hash, objects FROM projections").fetchall()
    return {name: (text_hash, objects) for name, text_hash, objects in rows}


def is_installed(connection: duckdb.DuckDBPyConnection, database: str, projection: Projection) -> bool:
    """Return whether the tables of ``projection`` in the read model ``database`` were folded by exactly this text."""
    rows = connection.execute(
        f'SELECT hash FROM "{database}".main.projections WHERE name = ?',  # noqa: S608 - a name
        [projection.name],
    ).fetchall()
    return rows == [(_hash(projection),)]


def made_by(projection: Projection) -> list[tuple[str, str]]:
    """Return what ``projection`` makes, in order: TABLE or VIEW, and the name."""
    return _MADE.findall(f"{projection.table}\n{projection.views}")


def _install(connection: duckdb.DuckDBPyConnection, projection: Projection) -> None:
    made = made_by(projection)
    connection.execute(f"{projection.table}\n{projection.views}")
    connection.execute(
        "INSERT INTO projections VALUES (?, ?, ?)",
        [projection.name, _hash(projection), [f"{kind} {name}" for kind, name in made]],
    )


def _forget(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute("DELETE FROM projections WHERE name = ?", [name])


def _drop(connection: duckdb.DuckDBPyConnection, objects: Iterable[str]) -> None:
    for kind_and_name in reversed(list(objects)):
        connection.execute(f"DROP {kind_and_name}")


def _fold_again(connection: duckdb.DuckDBPyConnection, projection: Projection) -> None:
    last = connection.execute("SELECT seq FROM log_cursor").fetchall()[0][0]
    if not last or not projection.folds:
        return
    log.info("projection is folded again", projection=projection.name, events=last)
    connection.execute(_BATCH_VIEW)
    for first in range(1, last + 1, _REBUILD_STEP):
        fold(connection, projection.folds, first, min(last, first + _REBUILD_STEP - 1))
    connection.execute("DROP VIEW batch")


def fold(connection: duckdb.DuckDBPyConnection, folds: Iterable[Fold], first: int, last: int) -> None:
    """Run ``folds`` over the events from sequence ``first`` to ``last``, inside the caller's transaction."""
    connection.execute(f"SET VARIABLE batch_first = {first:d}; SET VARIABLE batch_last = {last:d}")
    for one in folds:
        # Fetched to the end: an error comes here, and not with the next statement.
        connection.execute(one.sql).fetchall()


def fold_all(
    connection: duckdb.DuckDBPyConnection,
    projections: Iterable[Projection],
    first: int,
    last: int,
    *,
    step: int = FOLD_STEP,
    tell: Callable[[int], None] | None = None,
) -> None:
    """Fold the events from sequence ``first`` to ``last``, which the table ``events`` holds already, and move the cursor.

    It is the fast way for many events: a transaction has ``step`` of them, whatever their types, so that memory stays bounded
    however many there are. ``connection`` is one that `prepare` has made ready, outside of a transaction; the folds of the events
    before ``first`` have run. ``tell`` is called with the sequence that has been reached after every step. An error leaves the
    read model as of the last whole step.
    """
    folds = [one for projection in projections for one in projection.folds]
    for begin in range(first, last + 1, step):
        end = min(last, begin + step - 1)
        connection.execute("BEGIN")
        try:
            fold(connection, folds, begin, end)
            connection.execute(_MOVE_CURSOR, [end]).fetchall()
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.TransactionException):  # a failed COMMIT has ended the transaction
                connection.execute("ROLLBACK")
            raise
        if tell is not None:
            tell(end)
