"""What a read model holds, in a form that tests compare."""

from __future__ import annotations

import duckdb

from vmr.projector import Projector

_OF_EVENTS = {"settled_events", "recent_events"}


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    return [name for (name,) in rows]


def contents(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Return every row of every table, as text, in order of the text; recent events are events like the others."""
    names = {*_tables(connection), "events"} - _OF_EVENTS
    return {name: _rows(connection, name) for name in sorted(names)}


def _rows(connection: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    rows = connection.execute("SELECT t::VARCHAR FROM query_table(?) AS t ORDER BY 1", [name]).fetchall()
    return [row for (row,) in rows]


def empty(projector: Projector) -> None:
    """Take a read model back to where it has seen no event."""
    connection = projector._connection
    for name in _tables(connection):
        if name not in {"projections", "log_cursor"}:
            connection.execute(f"TRUNCATE {name}")
    connection.execute("UPDATE log_cursor SET seq = 0, run = 0")
    projector.cursor = projector.run = 0
