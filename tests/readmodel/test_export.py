"""Answers as Parquet files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from vmr.answers import Select, read
from vmr.errors import InvalidInputError
from vmr.export import write_parquet
from vmr.projector import Projector

TYPES = r"""
SELECT i, TIMESTAMPTZ '2026-01-31 12:00:00.123456+00' AS a, 1.10::DECIMAL(9, 2) AS b, 170141183460469231731687303715884105727::HUGEINT AS c,
    '\xFF\x00a'::BLOB AS d, {'k': [1, NULL]} AS e, 'nan'::DOUBLE AS f, '-inf'::DOUBLE AS g, i = 1 AS h, 0.1::FLOAT AS j, DATE '2026-01-31' AS k,
    '00000000-0000-0000-0000-000000000001'::UUID AS l, 18446744073709551615::UBIGINT AS m, ['é', '"'] AS n, MAP {'x': 1} AS o, '{"a": 1}'::JSON AS p,
    CASE WHEN i = 1 THEN 'it''s' END AS "a ""b"" c"
FROM range(2) AS t(i) ORDER BY i
"""


def _look(source: str) -> tuple[str, str]:
    """Return statements for the types and the values of ``source``; but Parquet has no 128-bit integers, and c is one."""
    return (
        f"SELECT column_name, column_type FROM (DESCRIBE SELECT * EXCLUDE (c) {source})",  # noqa: S608 - the test's own
        f"SELECT COLUMNS(* EXCLUDE (c))::VARCHAR {source}",
    )


def test_values_and_types_come_back(projector: Projector, tmp_path: Path) -> None:
    """What DuckDB reads from the file is what the statement gives, of the same types."""
    connection = projector.reader()
    path = tmp_path / "it's.parquet"
    write_parquet(read(connection, Select(TYPES)), path)
    with duckdb.connect() as other:
        other.execute("SET TimeZone = 'UTC'")
        found = [other.execute(sql, [str(path)]).fetchall() for sql in _look("FROM read_parquet($1)")]
    assert found == [connection.execute(sql).fetchall() for sql in _look(f"FROM ({TYPES})")]
    assert list(tmp_path.iterdir()) == [path]


def test_no_rows(projector: Projector, tmp_path: Path) -> None:
    """A table without rows keeps its columns."""
    write_parquet(read(projector.reader(), Select("SELECT * FROM attempts")), tmp_path / "none.parquet")
    with duckdb.connect() as other:
        found = other.execute(f"DESCRIBE FROM '{tmp_path / 'none.parquet'}'").fetchall()
    assert [(row[0], row[1]) for row in found][:2] == [("run", "INTEGER"), ("server_name", "VARCHAR")]


def test_where_it_cannot_be_written(projector: Projector, tmp_path: Path) -> None:
    """A folder that is not there is an error with its name, and leaves nothing behind."""
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_parquet(read(projector.reader(), Select("SELECT 1")), tmp_path / "missing" / "x.parquet")
