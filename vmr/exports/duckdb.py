"""A run as one DuckDB file: every table, view and comment of its read model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb

from vmr.exports.sql import quoted
from vmr.projections import load_projections
from vmr.record import Tell

_ABOUT_EVENTS: Final = ("CREATE TABLE events ", "COMMENT ON TABLE events ", "COMMENT ON COLUMN events.")


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Copy the read model that ``record`` has attached to the new DuckDB file ``part`` (see `vmr.exports.of_run.export`).

    The copy has no write-ahead log and no room left by what was updated, unlike the file that it comes from.
    """
    tell(0, 1)
    record.execute(f"ATTACH '{quoted(part)}' AS copy")
    try:
        record.execute("COPY FROM DATABASE record TO copy").fetchall()
        if _refers_to_files(record):
            _copy_events(record)
    finally:
        record.execute("USE record.main; DETACH copy")
    tell(1, 1)
    events, vms = record.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM vms)").fetchall()[0]
    return f"{events:,} events of {vms:,} VMs"


def _refers_to_files(record: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the events are a view of an archive's files, which are not where the copy is taken to."""
    return bool(
        record.execute("FROM duckdb_views() WHERE database_name = 'record' AND view_name = 'events'").fetchall()
    )


def _copy_events(record: duckdb.DuckDBPyConnection) -> None:
    record.execute("USE copy.main; DROP VIEW events")
    for statement in duckdb.extract_statements(load_projections()[0].table):
        if statement.query.strip().startswith(_ABOUT_EVENTS):
            record.execute(statement.query)
    record.execute("INSERT INTO copy.main.events BY NAME FROM record.main.events ORDER BY seq").fetchall()
