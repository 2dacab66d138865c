"""The last few events of a read model that follows a log, as rows: columns take one event at the price of hundreds.

The table ``events`` has dozens of columns, and DuckDB gives each of them a buffer, a statistic and a place in the write-ahead log for
every transaction. So events that come one by one are kept whole, each in one value, and are moved into their columns together: when
there are many or large ones, before events that come in large batches, and when the read model is closed. Meanwhile ``events`` is a view of both,
with the same columns. A file that a crash has left so is put in order when it is opened (`put_back`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import msgspec

from vmr.statements import run, transaction

SETTLED: Final = "settled_events"
"""The name of the table ``events`` while there are recent events beside it."""
_RECENT: Final = "recent_events"
_MOST: Final = 1000
"""Recent events that are moved at once: it takes as long as folding a few, and to read so many whole takes no time."""
_MOST_CHARACTERS: Final = 4 << 20
"""What they may say before they are moved, however few they are: output comes in large pieces, and moving takes its room several times."""
_APART: Final = ("seq", "run")
_TIME: Final = "TIMESTAMP WITH TIME ZONE"
_IN_JSON: Final = {_TIME: "BIGINT", "JSON": "VARCHAR", "INTEGER": "BIGINT"}
_encoder: Final = msgspec.json.Encoder()


class RecentEvents:
    """The recent events of the read model in ``connection``, inside its owner's transactions."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make room for them beside the table ``events``, which gets another name."""
        self._connection = connection
        self._types = _types(connection, "events")
        in_columns = _in_columns(self._types)
        with transaction(connection):
            run(connection, f"ALTER TABLE events RENAME TO {SETTLED}")
            run(
                connection, f"CREATE TABLE {_RECENT} (seq BIGINT NOT NULL, run INTEGER NOT NULL, said VARCHAR NOT NULL)"
            )
            run(connection, f"CREATE VIEW events AS FROM {SETTLED} UNION ALL {in_columns}")
        self._move = _move(in_columns)
        # More than there are after a transaction that failed, or none where there are some: both do no harm.
        self._held = self._characters = 0

    def insert(self, columns: Mapping[str, Sequence[Any]]) -> Given:
        """Insert the few rows of ``columns`` (of `columns_of`, with the fields' own columns), and return them as a batch for folds."""
        others = [name for name in columns if name not in _APART]
        said = zip(*(columns[name] for name in others), strict=True)
        texts = [_encoder.encode(dict(zip(others, row, strict=True))).decode() for row in said]
        rows = list(zip(columns["seq"], columns["run"], texts, strict=True))
        room = ", ".join(["(?, ?, ?)"] * len(rows))
        run(self._connection, f"INSERT INTO {_RECENT} VALUES {room}", [value for row in rows for value in row])  # noqa: S608
        self._held += len(rows)
        self._characters += sum(map(len, texts))
        if self._held >= _MOST or self._characters >= _MOST_CHARACTERS:
            self.settle()
        return Given(columns, self._types)

    def settle(self) -> None:
        """Move all of them into their columns."""
        if self._held:
            run(self._connection, self._move)
            self._held = self._characters = 0


class Given:
    """A few events as the ``batch`` of folds: their values are in the statement, so that no table is read."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], types: Mapping[str, str]) -> None:
        """Take ``columns`` (of `columns_of`, with the fields' own columns), for a table whose columns have these ``types``."""
        self._columns = columns
        self._types = types
        self._count = len(columns["seq"])

    def select(self, columns: Sequence[str] | None) -> str:
        """Return the SELECT of ``columns``; see `vmr.folding.Batch`."""
        row = ", ".join(f"{_typed('?', self._types[name])} AS {name}" for name in self._named(columns))
        return " UNION ALL ".join([f"SELECT {row}"] * self._count)

    def values(self, columns: Sequence[str] | None) -> list[Any]:
        """Return the values, row by row; what no event here has is None."""
        missing = [None] * self._count
        chosen = [self._columns.get(name, missing) for name in self._named(columns)]
        return [value for row in zip(*chosen, strict=True) for value in row]

    def _named(self, columns: Sequence[str] | None) -> Sequence[str]:
        return list(self._types) if columns is None else columns or ("seq",)


def put_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Let ``events`` be one table of all events again, where whoever had the read model open before has left recent ones beside it."""
    left = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND database_name = current_database()"
    if not connection.execute(left, [_RECENT]).fetchall():
        return
    with transaction(connection):
        run(connection, _move(_in_columns(_types(connection, SETTLED))))
        run(connection, f"DROP VIEW events; DROP TABLE {_RECENT}; ALTER TABLE {SETTLED} RENAME TO events")


def _types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the columns of ``table``, in order, and their types."""
    return {name: type_ for name, type_, *_ in connection.execute(f"DESCRIBE {table}").fetchall()}


def _in_columns(types: Mapping[str, str]) -> str:
    """Return the SELECT of the recent events in columns of these ``types``."""
    shape = {name: _IN_JSON.get(type_, type_) for name, type_ in types.items() if name not in _APART}
    row = ", ".join(
        name if name in _APART else f"{_typed(f'said.{name}', type_)} AS {name}" for name, type_ in types.items()
    )
    said = f"json_transform(said, '{msgspec.json.encode(shape).decode()}') AS said"
    return f"SELECT {row} FROM (SELECT seq, run, {said} FROM {_RECENT})"  # noqa: S608 - names


def _move(in_columns: str) -> str:
    return f"INSERT INTO {SETTLED} {in_columns} ORDER BY seq; TRUNCATE {_RECENT}"


def _typed(value: str, type_: str) -> str:
    """Return SQL for what `columns_of` gives, as a value of ``type_``: times are microseconds there."""
    return f"make_timestamptz({value}::BIGINT)" if type_ == _TIME else f"{value}::{type_}"
