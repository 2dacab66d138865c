"""The SQL that exporters ask a run, one file each in ``projections/exports/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr import contract
from vmr.projections import load_queries

_BATCH: Final = 5000


def text_of(name: str) -> str:
    """Return the statement ``name`` of ``projections/exports``."""
    return load_queries(contract.projections() / "exports")[name].sql


def rows_of(record: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    """Return every row of the statement ``name`` by column; for answers that are short whatever the run."""
    found = record.execute(text_of(name))
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def batches_of(record: duckdb.DuckDBPyConnection, name: str) -> Iterator[dict[str, Any]]:
    """Yield every row of the statement ``name`` by column, in constant memory; other statements may run meanwhile."""
    cursor = record.cursor()
    try:
        cursor.execute("USE record.main")
        found = cursor.execute(text_of(name))
        columns = [column[0] for column in found.description or ()]
        while rows := found.fetchmany(_BATCH):
            yield from (dict(zip(columns, row, strict=True)) for row in rows)
    finally:
        cursor.close()


def quoted(path: Path) -> str:
    """Return ``path`` as it stands between single quotes in SQL."""
    return str(path).replace("'", "''")
