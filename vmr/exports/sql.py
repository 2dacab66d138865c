"""The SQL that exporters ask a run, one file each in ``projections/exports/``."""

from __future__ import annotations

from typing import Any

import duckdb

from vmr import contract
from vmr.projections import load_queries


def text_of(name: str) -> str:
    """Return the statement ``name`` of ``projections/exports``."""
    return load_queries(contract.projections() / "exports")[name].sql


def rows_of(record: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    """Return every row of the statement ``name`` by column; for answers that are short whatever the run."""
    found = record.execute(text_of(name))
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
