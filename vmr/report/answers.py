"""The questions that analysts ask, with their answers, as tables of a report: the first rows, and how many there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import duckdb
import msgspec

from vmr.answers import Select, read
from vmr.errors import QueryError
from vmr.projections import Query, bind, load_questions
from vmr.query import Answer
from vmr.report.text import clipped, one_line
from vmr.report.times import moment, second, utc

_LONGEST: Final = 200
_TIMES: Final = "TIMESTAMP WITH TIME ZONE"


class Cell(msgspec.Struct, frozen=True):
    """A value of a table.

    Attributes:
        text: what it says.
        more: what stands below it, smaller.
        kind: ``text``, ``number`` or ``time``.

    """

    text: str
    more: str = ""
    kind: str = "text"


class Table(msgspec.Struct, frozen=True):
    """Rows to show.

    Attributes:
        columns: their names.
        rows: the first rows.
        total: how many there are.

    """

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    total: int


class Asked(msgspec.Struct, frozen=True):
    """A question, and its answer.

    Attributes:
        name: what it is called.
        text: what it asks.
        sql: how.
        table: the answer; None when there is none.
        error: why there is none.

    """

    name: str
    text: str
    sql: str
    table: Table | None
    error: str = ""


def asked(connection: duckdb.DuckDBPyConnection, zero: int, rows: int) -> Iterator[Asked]:
    """Yield every question of ``projections/questions`` with the first ``rows`` rows of its answer, in the order of their names.

    No parameter is given. A question that cannot be answered (what guests wrote need not be what it casts it to) says so.
    """
    for name, query in sorted(load_questions().items()):
        try:
            yield Asked(name, query.description, query.sql, table(connection, query, zero, rows))
        except QueryError as error:
            yield Asked(name, query.description, query.sql, None, clipped(one_line(str(error)), _LONGEST))


def table(connection: duckdb.DuckDBPyConnection, query: Query, zero: int, rows: int) -> Table:
    """Return the first ``rows`` rows of the answer to ``query``, and how many there are; raise `QueryError` when there is none."""
    answer = read(connection, Select(query.sql), bind(query, {}), rows)
    total = len(answer.rows)
    if answer.truncated:
        counted = read(connection, Select(f"FROM (\n{query.sql}\n) SELECT count(*)"), bind(query, {}))
        total = counted.rows[0][0]
    return Table(tuple(one_line(name) for name in answer.columns), list(cells(answer, zero)), total)


def cells(answer: Answer, zero: int) -> Iterator[list[Cell]]:
    """Yield the rows of ``answer`` as cells; seconds are counted from the moment ``zero``."""
    for row in answer.rows:
        yield [_cell(value, type_, zero) for value, type_ in zip(row, answer.types, strict=True)]


def _cell(value: Any, type_: str, zero: int) -> Cell:
    if value is None:
        return Cell("")
    if type_ == _TIMES:
        with contextlib.suppress(ValueError):  # years before 1 and after 9999 stay as DuckDB writes them
            at = moment(value)
            return Cell(second(at, zero), utc(at), "time")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, float):
        return Cell(f"{value:.6f}".rstrip("0").rstrip("."), kind="number")
    if isinstance(value, int):
        return Cell(str(value), kind="number")
    return Cell(clipped(one_line(value), _LONGEST))
