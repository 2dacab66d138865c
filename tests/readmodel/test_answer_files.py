"""Answers as Parquet and Arrow files."""

from __future__ import annotations

import importlib.util
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]  # it has no types
import pytest
from pyarrow import ipc

from vmr.answer_files import check_arrow, write_arrow, write_arrow_stream, write_parquet
from vmr.answers import Select, read
from vmr.errors import InvalidInputError
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


def test_arrow_has_the_types_and_values(projector: Projector, tmp_path: Path) -> None:
    """Times are UTC to the microsecond, decimals and lists are such, and DuckDB reads the same back from Arrow as from the statement."""
    connection = projector.reader()
    path = tmp_path / "it's.arrow"
    answer = read(connection, Select(TYPES))
    write_arrow(answer, path)
    with ipc.open_file(path) as file:
        table = file.read_all()
    kinds = dict(zip(table.column_names, table.schema.types, strict=True))
    assert kinds["a"] == pa.timestamp("us", tz="UTC")
    assert kinds["b"] == pa.decimal128(9, 2)
    assert kinds["d"] == pa.binary()
    assert kinds["k"] == pa.date32()
    assert pa.types.is_list(kinds["n"])
    assert pa.types.is_struct(kinds["e"])
    row = table.to_pylist()[1]
    assert row["a"] == datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    assert (row["b"], row["d"], row["e"]) == (Decimal("1.10"), b"\xff\x00a", {"k": [1, None]})
    assert (row["m"], row["n"], row['a "b" c']) == (18446744073709551615, ["é", '"'], "it's")
    assert list(tmp_path.iterdir()) == [path]


def test_arrow_as_a_stream(projector: Projector) -> None:
    """Into a pipe goes a stream, which needs no seeking; without rows it has its columns."""
    buffer = io.BytesIO()
    write_arrow_stream(read(projector.reader(), Select("SELECT seq, time FROM events")), buffer)
    buffer.seek(0)
    table = ipc.open_stream(buffer).read_all()
    assert (table.num_rows, table.schema.types) == (0, [pa.int64(), pa.timestamp("us", tz="UTC")])


def test_arrow_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error says how to get it; a terminal is spared the bytes."""
    with pytest.raises(InvalidInputError, match="terminal"):
        check_arrow(to_terminal=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InvalidInputError, match=r"pip install 'vmr\[arrow\]'"):
        check_arrow(to_terminal=False)


def test_an_arrow_file_that_cannot_be_written(projector: Projector, tmp_path: Path) -> None:
    """A folder that is not there is an error with its name."""
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_arrow(read(projector.reader(), Select("SELECT 1")), tmp_path / "missing" / "x.arrow")
