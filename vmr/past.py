"""The read model as it was: the same folds over the same events, up to a sequence.

Beside the read model of now lies a database in memory with one schema per sequence that was asked for. Its ``events`` are a view
of the events up to there; everything else is folded from them by the SQL of `projections`, so that it cannot be anything but what
a read model that has seen no more would hold. Tables that tell themselves what they were (``as of`` in their projection's file)
are views of the present ones: what grows with the log is neither folded nor copied for a moment. A projection is made when a
statement speaks of something of it, not before, and only events of the types that it folds are looked at.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from string import Template
from typing import Final

import duckdb

from vmr.errors import QueryError
from vmr.folding import Range, fold
from vmr.installed import is_installed, made_by, tables_made_by
from vmr.projections import Fold, Projection, load_projections

_DATABASE: Final = "vmr_past"
_KEPT: Final = 4
_STEP: Final = 1_000_000
_MOMENTS_OF_TYPES: Final = "SELECT DISTINCT type, (seq - 1) // ? FROM events WHERE type IN (SELECT unnest(?))"
_VIEW: Final = re.compile(r"CREATE VIEW \w+ AS\s(.*)", re.DOTALL)
_COMMENT: Final = re.compile(r"^COMMENT ON .*;$", re.MULTILINE)
_NO_NAME: Final = re.compile(r"--[^\n]*|'[^']*'")
_WORD: Final = re.compile(r"\w+")
_ANY_TABLE: Final = frozenset({"query", "query_table"})
"""Functions that take the name of a table, or a statement, as a text."""


class Past:
    """Moments of one read model. For several threads at once, each with a connection of its own to that read model."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, projections: Sequence[Projection] | None = None) -> None:
        """Make room for moments beside the database of ``connection``, folded by ``projections`` (default: vmr's own)."""
        _, *self._projections = projections or load_projections()
        self._objects = {one.name: {name.lower() for _, name in made_by(one)} for one in self._projections}
        with duckdb.connect() as parser:
            self._reads = {one.name: _read_by(one, parser) for one in self._projections}
        ((self._home,),) = connection.execute("SELECT current_database()").fetchall()
        self._folded: OrderedDict[int, set[str]] = OrderedDict()
        self._used: Counter[int] = Counter()
        self._lock = threading.Lock()
        connection.execute(f"ATTACH ':memory:' AS {_DATABASE}")

    @contextlib.contextmanager
    def at(self, connection: duckdb.DuckDBPyConnection, sequence: int, sql: str) -> Iterator[None]:
        """Let ``connection`` see, while this lasts, what ``sql`` speaks of as it was after the event ``sequence``.

        Raises `QueryError` when it cannot be folded, or is interrupted.
        """
        with self._lock:
            try:
                self._prepare(connection, sequence, self.needed(sql))
            except duckdb.Error as error:
                raise QueryError(f"as of {sequence}: {error}") from error
            self._used[sequence] += 1
        try:
            connection.execute(f"USE {_DATABASE}.{_schema(sequence)}")
            yield
        finally:
            connection.execute(f'USE "{self._home}".main')
            with self._lock:
                self._used[sequence] -= 1

    def needed(self, sql: str) -> set[str]:
        """Return the names of the projections that ``sql`` may read: by every word in it, and by what they read in turn."""
        names, needed = _words(sql), set[str]()
        if names & _ANY_TABLE:
            return set(self._objects)
        while more := {name for name, objects in self._objects.items() if objects & names} - needed:
            needed |= more
            names = names.union(*(self._reads[name] for name in more))
        return needed

    def _prepare(self, connection: duckdb.DuckDBPyConnection, sequence: int, needed: set[str]) -> None:
        folded = self._folded.get(sequence, set())
        if sequence not in self._folded or needed - folded:
            connection.execute("BEGIN")
            try:
                if sequence not in self._folded:
                    self._make(connection, sequence)
                connection.execute(f"USE {_DATABASE}.{_schema(sequence)}")
                self._fill(connection, needed - folded, sequence)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            finally:
                connection.execute(f'USE "{self._home}".main')
        self._folded[sequence] = folded | needed
        self._folded.move_to_end(sequence)
        self._forget(connection)

    def _make(self, connection: duckdb.DuckDBPyConnection, sequence: int) -> None:
        """Make the schema of ``sequence``: every table, empty, and every view."""
        main = f'"{self._home}".main'
        connection.execute(f"CREATE SCHEMA {_DATABASE}.{_schema(sequence)}")
        connection.execute(f"USE {_DATABASE}.{_schema(sequence)}")
        connection.execute(f"CREATE VIEW events AS SELECT * FROM {main}.events WHERE seq <= {sequence:d}")  # noqa: S608 - a number
        for table in ("projections", "rebuilds"):
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {main}.{table}")  # noqa: S608 - names
        connection.execute(
            f"CREATE TABLE log_cursor AS SELECT {sequence:d}::BIGINT AS seq,"  # noqa: S608 - a number
            f" coalesce((SELECT run FROM {main}.events WHERE seq = {sequence:d}), 0)::INTEGER AS run"
        )
        for projection in self._projections:
            # Nobody reads the comments of a moment, and they are most of the statements.
            connection.execute(_COMMENT.sub("", f"{projection.table}\n{projection.views}"))

    def _fill(self, connection: duckdb.DuckDBPyConnection, names: set[str], sequence: int) -> None:
        """Make the tables of the projections ``names`` what they were."""
        folds: list[Fold] = []
        for projection in (one for one in self._projections if one.name in names):
            if projection.as_of and is_installed(connection, self._home, projection):
                self._look_back(connection, projection, sequence)
            else:
                folds += projection.folds
        if folds:
            self._fold(connection, folds, sequence)

    def _look_back(self, connection: duckdb.DuckDBPyConnection, projection: Projection, sequence: int) -> None:
        for name in tables_made_by(projection):
            connection.execute(f"DROP TABLE {name}")
        present = f'"{self._home}".main'
        connection.execute(Template(projection.as_of).substitute(present=present, sequence=sequence))

    def _fold(self, connection: duckdb.DuckDBPyConnection, folds: Sequence[Fold], sequence: int) -> None:
        """Run ``folds`` over the events up to ``sequence``, leaving out where there is none of their types."""
        types = sorted(set[str]().union(*(one.events for one in folds)))
        found: dict[int, set[str]] = {}
        for type_, step in connection.execute(_MOMENTS_OF_TYPES, [_STEP, types]).fetchall():
            found.setdefault(step, set()).add(type_)
        for step, occurring in sorted(found.items()):
            due = [one for one in folds if not occurring.isdisjoint(one.events)]
            fold(connection, due, Range(step * _STEP + 1, min(sequence, (step + 1) * _STEP)))

    def _forget(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Drop the moments that were not asked for lately, and that nobody reads."""
        for sequence in list(self._folded)[:-_KEPT]:
            if not self._used[sequence]:
                connection.execute(f"DROP SCHEMA {_DATABASE}.{_schema(sequence)} CASCADE")
                del self._folded[sequence], self._used[sequence]


def _schema(sequence: int) -> str:
    return f"s{sequence:d}"


def _words(sql: str) -> set[str]:
    return set(_WORD.findall(sql.lower()))


def _read_by(projection: Projection, parser: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the names of every table and view that the views and folds of ``projection`` may read."""
    names = {name for one in projection.folds for name in _words(_NO_NAME.sub(" ", one.sql))}
    for statement in duckdb.extract_statements(projection.views):
        if view := _VIEW.search(statement.query):
            names |= _tables(parser, view[1])
    return names


def tables_of(projection: Projection, view: str) -> set[str]:
    """Return the names of the tables and views that the view ``view`` of ``projection`` reads; none when it is no view of it."""
    found = re.compile(rf"CREATE VIEW {view} AS\s(.*)", re.DOTALL)
    with duckdb.connect() as parser:
        for statement in duckdb.extract_statements(projection.views):
            if match := found.search(statement.query):
                return _tables(parser, match[1])
    return set()


def _tables(parser: duckdb.DuckDBPyConnection, select: str) -> set[str]:
    try:
        return {name.lower() for name in parser.get_table_names(select)}
    except duckdb.Error:
        # DuckDB lists no names for some joins (ASOF): then every word may be one.
        return _words(_NO_NAME.sub(" ", select))
