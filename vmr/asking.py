"""What people ask of a read model, by SQL or by the name of a question, answered on a connection that only reads.

``sql`` is the name of SQL of their own (`vmr.sql_guard` says what that may do); every other name is a file of
``projections/questions`` or ``projections/queries``. ``past`` is the name of any of them as of a moment that is over.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import duckdb
import msgspec

from vmr import sql_guard
from vmr.answers import Select, read
from vmr.as_of import sequence_of
from vmr.errors import QueryError
from vmr.past import Past
from vmr.projections import Query, bind, load_queries, load_questions
from vmr.query import PAST, Answer, AsOf

SQL: Final = "sql"


class SqlParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a question to ``sql`` says.

    Attributes:
        sql: the statement.
        limit: at most so many rows.
        values: values of the statement's named parameters.

    """

    sql: str
    limit: int = sql_guard.MOST_ROWS
    values: dict[str, Any] | None = None


class PastParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a question to ``past`` says.

    Attributes:
        query: what is asked: ``sql``, or the name of a query or question.
        as_of: the moment that is meant, see `vmr.as_of`.
        params: the parameters of what is asked.

    """

    query: str
    as_of: int | str
    params: dict[str, Any] = msgspec.field(default_factory=dict)


@cache
def named() -> dict[str, Query]:
    """Return everything that can be asked by name."""
    return load_queries() | load_questions()


def find(name: str) -> Query:
    """Return the query or question ``name``; raise `QueryError`, with the nearest name, when there is none."""
    query = named().get(name)
    if query is None:
        near = difflib.get_close_matches(name, named(), 1)
        hint = f"did you mean {near[0]}?" if near else "`vmr ask` lists them"
        raise QueryError(f"no question {name!r}; {hint}")
    return query


def answer(connection: duckdb.DuckDBPyConnection, name: str, params: Mapping[str, Any]) -> Answer:
    """Return the answer of the question ``name``, or of the SQL in ``params``; raise `QueryError` when there can be none."""
    if name == SQL:
        asked = sql_parameters(params)
        return sql_guard.answer(connection, asked.sql, asked.values, asked.limit)
    query = find(name)
    return read(connection, Select(query.sql), bind(query, params), sql_guard.MOST_ROWS)


def answer_past(
    past: Past, connection: duckdb.DuckDBPyConnection, name: str, params: Mapping[str, Any], as_of: AsOf
) -> Answer:
    """Return the answer of ``name`` (see `answer`) as it was at ``as_of``; raise `QueryError` when there can be none."""
    sql = sql_parameters(params).sql if name == SQL else find(name).sql
    with past.at(connection, sequence_of(connection, as_of), sql):
        return answer(connection, name, params)


def past_parameters(params: Mapping[str, Any]) -> PastParameters:
    """Return ``params`` as those of ``past``; raise `QueryError` when they are not."""
    try:
        return msgspec.convert(dict(params), PastParameters)
    except msgspec.ValidationError as error:
        raise QueryError(f"parameters of {PAST}: {error}; send query, as_of, and if need be params") from error


def sql_parameters(params: Mapping[str, Any]) -> SqlParameters:
    """Return ``params`` as those of SQL; raise `QueryError` when they are not."""
    try:
        return msgspec.convert(dict(params), SqlParameters)
    except msgspec.ValidationError as error:
        raise QueryError(f"parameters of {SQL}: {error}; send sql, and if need be limit and values") from error
