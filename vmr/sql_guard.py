"""SQL from people, kept to reading.

Three fences, each enough by itself for what it is for: only one statement, and of a kind that reads, is let through; it runs in a
transaction that cannot write; and DuckDB itself is closed to files, the network and changes of its configuration. What remains is
time, memory and rows, which have limits. It runs in a process of its own, apart from the projector that others depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import duckdb

from vmr.answers import Select, read
from vmr.errors import QueryError
from vmr.query import Answer

MOST_ROWS: Final = 100_000
_MEMORY: Final = "1GB"
_SPILL: Final = "4GB"
_LOCKS: Final = (
    "SET python_enable_replacements = false",
    "SET allow_community_extensions = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    f"SET memory_limit = '{_MEMORY}'",
    f"SET max_temp_directory_size = '{_SPILL}'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_READING: Final = "SELECT, WITH, FROM, VALUES, DESCRIBE, SHOW, SUMMARIZE and EXPLAIN"


def lock_down(connection: duckdb.DuckDBPyConnection) -> None:
    """Close the database of ``connection`` to files, extensions, the network and changes of its configuration, for good."""
    for statement in _LOCKS:
        connection.execute(statement)


def check_statement(sql: str) -> Select:
    """Return the one statement in ``sql`` if it reads; raise `QueryError`, saying what is allowed, otherwise."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    if len(statements) != 1:
        raise QueryError(f"{len(statements)} statements: send exactly one at a time")
    statement = statements[0]
    if statement.type == duckdb.StatementType.EXPLAIN:
        return _Explain(statement.query)
    if statement.type != duckdb.StatementType.SELECT:
        raise QueryError(f"{statement.type.name} is not allowed: SQL only reads here; use {_READING}")
    return Select(statement.query.rstrip().rstrip(";"))


class _Explain(Select):
    """EXPLAIN gives text already, and is not allowed inside another statement."""

    def wrapped(
        self, connection: duckdb.DuckDBPyConnection, params: Any
    ) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        return self.sql.rstrip().rstrip(";"), ("explain_key", "explain_value"), ("VARCHAR", "VARCHAR")


def answer(
    connection: duckdb.DuckDBPyConnection, sql: str, params: dict[str, Any] | None = None, limit: int = MOST_ROWS
) -> Answer:
    """Return the answer of ``sql``, of at most ``limit`` rows (and never more than `MOST_ROWS`).

    Raises `QueryError` when it is not one statement that reads, or cannot be answered.
    """
    select = check_statement(sql)
    _check_values(sql, params or {})
    if isinstance(select, _Explain):
        return read(connection, select, params)
    return read(connection, select, params, max(0, min(limit, MOST_ROWS)))


def _check_values(sql: str, given: Mapping[str, Any]) -> None:
    """Raise `QueryError`, naming it, when a parameter of the statement ``sql`` has no value in ``given``, or a value no parameter."""
    wanted = duckdb.extract_statements(sql)[0].named_parameters
    said = ", ".join(f"${name}" for name in sorted(wanted)) or "none"
    if missing := sorted(wanted - given.keys()):
        raise QueryError(
            f"no value for the parameter ${missing[0]}; the statement's parameters are: {said};"
            f" give it in values, or with -p {missing[0]}=VALUE"
        )
    if unknown := sorted(given.keys() - wanted):
        raise QueryError(f"no parameter ${unknown[0]} in the statement; its parameters are: {said}")
