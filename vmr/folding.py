"""Runs the folds of projections over ranges of the table ``events``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import duckdb

from vmr.projections import Fold, Projection

FOLD_STEP: Final = 500_000
"""Events that `fold_all` folds in one transaction: enough to be fast, few enough for the memory of a small machine."""
BATCH: Final = (
    "batch AS SELECT * FROM events WHERE seq BETWEEN getvariable('batch_first') AND getvariable('batch_last')"
)
"""The view that folds read, to be made by ``CREATE VIEW`` or ``CREATE TEMP VIEW``."""
_MOVE_CURSOR: Final = "UPDATE log_cursor SET seq = e.seq, run = e.run FROM events AS e WHERE e.seq = ?"


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Do what is done within as one transaction, which an error rolls back."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.TransactionException):  # a failed COMMIT has ended the transaction
            connection.execute("ROLLBACK")
        raise


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
    however many there are. ``connection`` is one that `vmr.read_model.prepare` has made ready, outside of a transaction; the folds
    of the events before ``first`` have run. ``tell`` is called with the sequence that has been reached after every step. An error
    leaves the read model as of the last whole step.
    """
    folds = [one for projection in projections for one in projection.folds]
    for begin in range(first, last + 1, step):
        end = min(last, begin + step - 1)
        with transaction(connection):
            fold(connection, folds, begin, end)
            connection.execute(_MOVE_CURSOR, [end]).fetchall()
        if tell is not None:
            tell(end)
