"""Statements that come again and again, parsed once, and transactions around them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import duckdb

Values: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""The parameters of a statement, in order or by name."""

_MOST_PARSED: Final = 1000
_parsed: dict[str, list[duckdb.Statement]] = {}


def parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[duckdb.Statement]:
    """Return the statements of ``sql``; raise `duckdb.ParserException` where it is none. ``connection`` is not changed."""
    statements = _parsed.get(sql)
    if statements is None:
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
        statements = _parsed[sql] = connection.extract_statements(sql)
    return statements


def run(connection: duckdb.DuckDBPyConnection, sql: str, values: Values = ()) -> None:
    """Execute the statements of ``sql``. ``values`` are for one statement alone."""
    for statement in parsed(connection, sql):
        # Fetched to the end: an error comes here, and not with the next statement.
        connection.execute(statement, values or None).fetchall()


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Do what is done within as one transaction, which an error rolls back."""
    run(connection, "BEGIN")
    try:
        yield
        run(connection, "COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.TransactionException):  # a failed COMMIT has ended the transaction
            connection.execute("ROLLBACK")
        raise
