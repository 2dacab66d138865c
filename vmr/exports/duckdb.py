"""A run as one DuckDB file: every table, view and comment of its read model."""

from __future__ import annotations

from pathlib import Path

import duckdb

from vmr.exports.target import Tell


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Copy the read model that ``record`` has attached to the new DuckDB file ``part`` (see `vmr.exports.export`).

    The copy has no write-ahead log and no room left by what was updated, unlike the file that it comes from.
    """
    tell(0, 1)
    record.execute(f"ATTACH '{quoted(part)}' AS copy")
    try:
        record.execute("COPY FROM DATABASE record TO copy").fetchall()
    finally:
        record.execute("DETACH copy")
    tell(1, 1)
    events, vms = record.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM vms)").fetchall()[0]
    return f"{events:,} events of {vms:,} VMs"


def quoted(path: Path) -> str:
    """Return ``path`` as it stands between single quotes in SQL."""
    return str(path).replace("'", "''")
