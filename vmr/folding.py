"""Runs the folds of projections over ranges of the table ``events``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import duckdb

from vmr.projections import Fold, Projection

FOLD_STEP: Final = 500_000
"""Events that `fold_all` folds in one transaction: enough to be fast, few enough for the memory of a small machine."""
BATCH: Final = (
    "batch AS SELECT * FROM events WHERE seq BETWEEN getvariable('batch').first_seq AND getvariable('batch').last_seq"
)
"""The view that folds read, to be made by ``CREATE VIEW`` or ``CREATE TEMP VIEW``."""
_LEAST_STEP: Final = 10
_MOST_PARSED: Final = 1000
_parsed: dict[str, list[duckdb.Statement]] = {}
_MOVE_CURSOR: Final = "UPDATE log_cursor SET seq = e.seq, run = e.run FROM events AS e WHERE e.seq = ?"


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Do what is done within as one transaction, which an error rolls back."""
    run(connection, "BEGIN")
    try:
        yield
        run(connection, "COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.TransactionException):  # a failed COMMIT has ended the transaction
            connection.execute("ROLLBACK")
        raise


def run(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[Any] = ()) -> None:
    """Execute statements that come again and again: they are parsed once. ``values`` are for one statement alone."""
    statements = _parsed.get(sql)
    if statements is None:
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        statements = _parsed[sql] = connection.extract_statements(sql)
    for statement in statements:
        # Fetched to the end: an error comes here, and not with the next statement.
        connection.execute(statement, values or None).fetchall()


def set_batch(connection: duckdb.DuckDBPyConnection, first: int, last: int) -> None:
    """Let the view ``batch`` be the events from sequence ``first`` to ``last``."""
    connection.execute(f"SET VARIABLE batch = {{'first_seq': {first:d}, 'last_seq': {last:d}}}")


def fold(connection: duckdb.DuckDBPyConnection, folds: Iterable[Fold], first: int, last: int) -> None:
    """Run ``folds`` over the events from sequence ``first`` to ``last``, inside the caller's transaction."""
    set_batch(connection, first, last)
    for one in folds:
        run(connection, one.sql)


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

    It is the fast way for many events: a transaction has ``step`` of them, whatever their types, and fewer where they are too large
    for the memory that the database may take. ``connection`` is one that `vmr.read_model.prepare` has made ready, outside of a
    transaction; the folds of the events before ``first`` have run. ``tell`` is called with the sequence that has been reached after
    every step. An error leaves the read model as of the last whole step.
    """
    folds = [one for projection in projections for one in projection.folds]
    steps = Steps(step)
    while first <= last:
        with steps.within_memory(), transaction(connection):
            end = min(last, first + steps.size - 1)
            types = _types(connection, first, end)
            fold(connection, [one for one in folds if not types.isdisjoint(one.events)], first, end)
            connection.execute(_MOVE_CURSOR, [end]).fetchall()
        if steps.fitted:
            first = end + 1
            if tell is not None:
                tell(end)


def _types(connection: duckdb.DuckDBPyConnection, first: int, last: int) -> set[str]:
    """Return the types of the events from ``first`` to ``last``: to look once is cheaper than for every fold."""
    rows = connection.execute(f"SELECT DISTINCT type FROM events WHERE seq BETWEEN {first:d} AND {last:d}").fetchall()  # noqa: S608
    return {name for (name,) in rows}


class Steps:
    """How many events to fold at a time: so many as the memory allows. Output of a megabyte a piece allows few.

    Attributes:
        size: number of events of the next step.
        fitted: whether the last step fitted into the memory; if not, it is to be done again with the new size.

    """

    def __init__(self, most: int) -> None:
        """Begin with steps of ``most`` events, which is never exceeded."""
        self._most = self.size = most
        self.fitted = True

    @contextlib.contextmanager
    def within_memory(self) -> Iterator[None]:
        """Do a step within; where the memory is too small for it, make steps smaller, as long as they can be."""
        try:
            yield
        except (duckdb.OutOfMemoryException, duckdb.TransactionException):  # the latter: no memory for the COMMIT
            if self.size <= _LEAST_STEP:
                raise
            self.fitted, self.size = False, max(_LEAST_STEP, self.size // 8)
        else:
            self.fitted, self.size = True, min(self._most, 2 * self.size)
