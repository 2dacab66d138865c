"""Runs the folds of projections over ranges of the table ``events``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import duckdb
import msgspec

from vmr.event_columns import KINDS
from vmr.projections import Fold, Projection
from vmr.statements import parsed, run, transaction

FOLD_STEP: Final = 500_000
"""Events that `fold_all` folds in one transaction: enough to be fast, few enough for the memory of a small machine."""
_LEAST_STEP: Final = 10
_LEADING: Final = re.compile(r"(?:\s+|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NO_NAME: Final = re.compile(r"'[^']*'|--[^\n]*")
_WORD: Final = re.compile(r"\w+")
_PLAIN: Final = re.compile(r"\b(?:FROM|JOIN)\s+batch\b(?=\s*(?:$|[;)]|WHERE\b|GROUP\b))", re.IGNORECASE)
_STARS: Final = frozenset({"columns", "natural"})
_WITH: Final = re.compile(r"WITH(\s+RECURSIVE)?\b", re.IGNORECASE)
_MOVE_CURSOR: Final = "UPDATE log_cursor SET seq = e.seq, run = e.run FROM events AS e WHERE e.seq = ?"


class Batch(Protocol):
    """The events that folds run over."""

    def select(self, columns: Sequence[str] | None) -> str:
        """Return a SELECT of these ``columns`` of the table ``events``, or of all of them, with ``?`` for the values of `values`."""
        ...

    def values(self, columns: Sequence[str] | None) -> list[Any]:
        """Return the values for `select`."""
        ...


class Range(msgspec.Struct, frozen=True):
    """The events from one sequence to another, in a table or view with the columns of ``events``."""

    first: int
    last: int
    table: str = "events"

    def select(self, columns: Sequence[str] | None) -> str:
        """Return the SELECT of ``columns``; see `Batch`."""
        names = "*" if columns is None else ", ".join(columns) or "seq"
        return f"SELECT {names} FROM {self.table} WHERE seq BETWEEN ? AND ?"  # noqa: S608 - names

    def values(self, columns: Sequence[str] | None) -> list[Any]:
        """Return the two sequences."""
        return [self.first, self.last]


class _Statement(msgspec.Struct, frozen=True):
    """A statement of a fold: what comes before the definition of ``batch``, which columns of that it reads, and what comes after.

    ``head`` is empty where it does not read ``batch``; ``columns`` is None where it may read all of them.
    """

    head: str
    columns: tuple[str, ...] | None
    tail: str


_folds_over_batch: dict[str, list[_Statement]] = {}


def fold(connection: duckdb.DuckDBPyConnection, folds: Iterable[Fold], batch: Batch) -> None:
    """Run ``folds`` over the events of ``batch``, inside the caller's transaction."""
    for one in folds:
        for statement in _over_batch(connection, one.sql):
            if statement.head:
                sql = f"{statement.head} batch AS NOT MATERIALIZED ({batch.select(statement.columns)}){statement.tail}"
                run(connection, sql, batch.values(statement.columns))
            else:
                run(connection, statement.tail)


def _over_batch(connection: duckdb.DuckDBPyConnection, fold_sql: str) -> list[_Statement]:
    """Return the statements of a fold, those that read ``batch`` with room for it before them."""
    found = _folds_over_batch.get(fold_sql)
    if found is None:
        found = [_with_batch(statement.query) for statement in parsed(connection, fold_sql)]
        _folds_over_batch[fold_sql] = found
    return found


def _with_batch(statement: str) -> _Statement:
    sql = _LEADING.sub("", statement, count=1)
    said = _NO_NAME.sub(" ", sql)
    words = _WORD.findall(said.lower())
    if "batch" not in words:
        return _Statement("", (), sql)
    # Planning with every column, most of which the statement does not speak of, would take a single event a tenth longer.
    columns = tuple(name for name in KINDS if name in words) if _names_columns(said, words) else None
    own = _WITH.match(sql)
    return (
        _Statement("WITH", columns, f" {sql}") if own is None else _Statement(own[0], columns, f", {sql[own.end() :]}")
    )


def _names_columns(sql: str, words: Sequence[str]) -> bool:
    """Whether a statement certainly calls every column of ``batch`` that it reads by its name.

    One that has a star, a SELECT left out, a position, BY NAME, or another name for ``batch``, by which a whole row can be meant, may not.
    """
    aliased = len(_PLAIN.findall(sql)) != words.count("batch")
    abridged = words.count("from") > words.count("select") + (words[0] == "update")
    starred = "*" in sql.replace("count(*)", "") or "#" in sql or not _STARS.isdisjoint(words)
    by_name = ("by", "name") in pairwise(words)
    return not (aliased or abridged or starred or by_name)


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
            fold(connection, [one for one in folds if not types.isdisjoint(one.events)], Range(first, end))
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
