"""New versions of projections are folded beside the old ones, and take their place when they have caught up.

The tables of what has changed are made in a schema of their own, ``rebuilding``, and filled from ``events`` step by step, each step
one transaction. Meanwhile the projections of before, whose text the table ``projections`` has kept, go on being folded and
answered from. When the new ones reflect the same event, one transaction puts their tables in the place of the old ones and makes
all views anew. Whatever ends the process before leaves the old ones; the next start goes on with the steps where they were.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import duckdb
import structlog

from vmr.folding import Range, Steps, fold
from vmr.installed import Installed, drop, hash_of, remember, tables_made_by
from vmr.projections import Projection
from vmr.statements import transaction

_SCHEMA: Final = "rebuilding"
DROP_SCHEMA: Final = f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE"
_TELL_EVERY: Final = 5.0

log = structlog.get_logger(__name__)


class Rebuild:
    """One change of the projections of a read model, from those that it holds to those that it shall hold.

    Uses its connection between the owner's transactions, from the owner's thread.

    Attributes:
        live: the projections that are to be folded until it is done.
        seq: sequence of the last event that the new tables reflect.

    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        wanted: Sequence[Projection],
        held: Mapping[str, Installed],
        steps: Steps,
    ) -> None:
        """Plan the change from ``held`` to ``wanted``, of which the first projection is the same; nothing is changed yet."""
        self._steps = steps
        self._connection = connection
        self._wanted = wanted
        self._held = held
        self._changed = [one for one in wanted if one.table and not _keeps_tables(held.get(one.name), one)]
        self._folds = [fold for one in self._changed for fold in one.folds]
        self._readable = all(one.projection is not None for one in held.values())
        self.live = tuple(one.projection for one in held.values() if one.projection is not None)
        ((database,),) = connection.execute("SELECT current_database()").fetchall()
        self._database = f'"{database}"'
        self._main = f"{self._database}.main"
        self._begun = time.monotonic()
        self._told = self._begun
        self.seq, self._has_begun = self._found()

    @property
    def can_wait(self) -> bool:
        """Whether there is something to be folded, and what is there can be folded meanwhile."""
        return self._readable and bool(self._folds) and self.seq < self._cursor()

    def step(self) -> bool:
        """Fold the next events; return whether the new projections are in place, which they are at the end.

        Raises `duckdb.Error` when a projection cannot be made or folded; the read model is then as it was before the step.
        """
        cursor = self._cursor()
        if self.seq < cursor and self._folds:
            with self._steps.within_memory():
                self.seq = self._folded(min(cursor, self.seq + self._steps.size))
            self._tell(cursor)
            if self.seq < cursor:
                return False
        self._swap()
        log.info("projections are in use", made_anew=self._names, events=cursor, seconds=self._seconds())
        return True

    def give_up(self) -> None:
        """Throw away what is folded so far; what there was before stays."""
        abandon(self._connection)

    @property
    def _names(self) -> list[str]:
        return [one.name for one in self._changed]

    def _seconds(self) -> float:
        return round(time.monotonic() - self._begun, 1)

    def _cursor(self) -> int:
        return int(self._connection.execute("SELECT seq FROM log_cursor").fetchall()[0][0])

    def _found(self) -> tuple[int, bool]:
        """Return up to which sequence these same projections are folded already, and whether their tables have been made."""
        rows = self._connection.execute("SELECT name, hash, seq FROM rebuilds").fetchall()
        if rows and {(name, text) for name, text, _ in rows} == {(one.name, hash_of(one)) for one in self._changed}:
            return int(rows[0][2]), True
        first = self._connection.execute("SELECT coalesce(min(seq), 1) FROM events").fetchall()
        return int(first[0][0]) - 1, False

    def _folded(self, last: int) -> int:
        """Fold up to the event ``last``, which is returned."""
        if not self._has_begun:
            self._begin()
        with self._inside(), transaction(self._connection):
            fold(self._connection, self._folds, Range(self.seq + 1, last))
            self._connection.execute(f"UPDATE {self._main}.rebuilds SET seq = ?", [last]).fetchall()  # noqa: S608 - a name
        return last

    def _begin(self) -> None:
        """Make the new tables, empty, beside the old ones."""
        with transaction(self._connection):
            abandon(self._connection)
            self._connection.execute(f"CREATE SCHEMA {_SCHEMA}")
            self._connection.execute(f"CREATE VIEW {_SCHEMA}.events AS SELECT * FROM {self._main}.events")  # noqa: S608 - names
        with self._inside(), transaction(self._connection):
            for one in self._changed:
                self._connection.execute(one.table)
                values = [one.name, hash_of(one), self.seq]
                self._connection.execute(f"INSERT INTO {self._main}.rebuilds VALUES (?, ?, ?)", values).fetchall()  # noqa: S608
        self._has_begun = True
        log.info("projections are folded anew, beside the old ones", projections=self._names, events=self._cursor())

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Let names without a schema mean the new tables."""
        self._connection.execute(f"USE {self._database}.{_SCHEMA}")
        try:
            yield
        finally:
            self._connection.execute(f"USE {self._main}")

    def _tell(self, cursor: int) -> None:
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            log.info("projections are being folded anew", projections=self._names, events=self.seq, of=cursor)

    def _swap(self) -> None:
        with transaction(self._connection):
            for held in reversed(list(self._held.values())):
                kept = {f"TABLE {name}" for name in self._kept_tables(held)}
                drop(self._connection, [item for item in held.objects if item not in kept])
            for one in self._changed:
                self._connection.execute(one.table)
                if self._has_begun:
                    self._move_rows(one)
            for one in self._wanted:
                self._connection.execute(one.views)
            remember(self._connection, self._wanted)
            abandon(self._connection)

    def _move_rows(self, projection: Projection) -> None:
        for name in tables_made_by(projection):
            self._connection.execute(f"TRUNCATE {name}").fetchall()
            self._connection.execute(f"INSERT INTO {name} SELECT * FROM {_SCHEMA}.{name}").fetchall()  # noqa: S608 - names

    def _kept_tables(self, held: Installed) -> list[str]:
        kept = [one for one in self._wanted if one.name == held.name and one not in self._changed]
        return tables_made_by(kept[0]) if kept else []


def _keeps_tables(held: Installed | None, wanted: Projection) -> bool:
    return held is not None and held.projection is not None and held.projection.same_tables(wanted)


def abandon(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget what is being folded anew in the read model of ``connection``, if anything is."""
    connection.execute("DELETE FROM rebuilds")
    connection.execute(DROP_SCHEMA)
