"""A run as Parquet: a file for every table and view of its read model, and beside them what each column means.

For pandas, Polars, R, Spark and whatever else reads Parquet. A target that ends in ``.zip`` is one file with the same in it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from vmr import __version__
from vmr.exports.sql import quoted, text_of
from vmr.new_files import MARK
from vmr.record import Tell


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Write the tables and views that ``record`` has attached to the folder (or ``.zip``) ``part`` (see `vmr.exports.export`)."""
    folder = part.with_name("tables") if part.suffix == ".zip" else part
    folder.mkdir()
    tables = _tables(record)
    for done, table in enumerate(tables):
        tell(done, len(tables))
        table["rows"] = _copy(record, table["name"], folder)
    tell(len(tables), len(tables))
    _describe(record, tables, folder)
    if folder != part:
        _pack(folder, part)
    return f"{len(tables)} tables and views"


def _tables(record: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    rows = record.execute(text_of("tables")).fetchall()
    return [
        {"name": name, "kind": kind, "comment": comment, "columns": columns} for name, kind, comment, columns in rows
    ]


def _copy(record: duckdb.DuckDBPyConnection, name: str, folder: Path) -> int:
    place = quoted(folder / f"{name}.parquet")
    rows = record.execute(f"COPY record.main.\"{name}\" TO '{place}' (FORMAT parquet, COMPRESSION zstd)").fetchall()
    count: int = rows[0][0]
    return count


def _describe(record: duckdb.DuckDBPyConnection, tables: list[dict[str, Any]], folder: Path) -> None:
    run, name, sequence = record.execute(
        "SELECT c.run, c.name, l.seq FROM current_run AS c, log_cursor AS l"
    ).fetchall()[0]
    head = {"vmr": __version__, "run": run, "experiment": name, "last_sequence": sequence}
    described = msgspec.json.format(msgspec.json.encode(head | {"tables": tables}), indent=2)
    (folder / MARK).write_bytes(described + b"\n")
    (folder / "README.md").write_text(_readme(head, tables), encoding="utf-8")


def _readme(head: dict[str, Any], tables: list[dict[str, Any]]) -> str:
    lines = [
        f"# Run {head['run']}",
        "",
        f"Written by vmr {head['vmr']}, from the record up to sequence {head['last_sequence']}. Every table and view of its read model",
        f"is a Parquet file (zstd) of its name, with times in UTC; what each column means is in `{MARK}`.",
        "",
        "| file | rows | what it holds |",
        "|---|---|---|",
    ]
    lines += [f"| `{table['name']}.parquet` | {table['rows']} | {table['comment']} |" for table in tables]
    return "\n".join(lines) + "\n"


def _pack(folder: Path, part: Path) -> None:
    # Stored as it is: the Parquet files are compressed already, and readers can take one out without the others.
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
            file.unlink()
