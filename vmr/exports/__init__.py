"""Exports: a run of the record in the formats of other programs (`vmr.exports.of_run`), and CloudEvents back from one of them."""

from __future__ import annotations

from typing import Final

FORMATS: Final = {
    "perfetto": "a timeline for Perfetto's viewer and trace processor",
    "cloudevents": "every event as CloudEvents 1.0, one per line, which `vmr import cloudevents` reads back",
    "parquet": "a folder (or .zip) with a Parquet file for every table and view",
    "duckdb": "one DuckDB file with every table, view and comment",
    "openmetrics": "a summary in numbers for Prometheus and its relatives",
}
"""The formats by name, with what each is."""
