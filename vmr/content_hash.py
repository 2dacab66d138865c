"""What a table holds, as one short text: equal for equal rows, in whatever order they lie and however they came there.

Two read models of the same events must have the same tables; their hashes say so without moving the rows. The hash of a table
is that of its columns' names and types, the number of its rows, and the sum of a 64-bit hash (half of the MD5) of each row's text.
A sum does not depend on the order, and unlike an exclusive or it counts repeated rows. It finds damage and defects; it is no
protection from somebody who makes rows up to match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import duckdb

from vmr.errors import DataError

NOT_CONTENT: Final = frozenset({"projections", "rebuilds"})
"""Tables that say how a read model was made, and not what is in it."""


def content_hash(connection: duckdb.DuckDBPyConnection, tables: Iterable[str] | None = None) -> dict[str, str]:
    """Return the hash (64 hexadecimal digits) of each of ``tables``, by name; of all tables of the present schema when None.

    ``connection`` must show times in UTC, as every read model of vmr's does: they are hashed as they are shown. Raises `DataError`
    when it does not, and for a table that is not there.
    """
    ((zone,),) = connection.execute("SELECT current_setting('TimeZone')").fetchall()
    if zone != "UTC":
        raise DataError(f"times are shown in {zone}: a content hash needs SET TimeZone = 'UTC'")
    present = _tables(connection)
    wanted = sorted(present - NOT_CONTENT) if tables is None else list(tables)
    if missing := [name for name in wanted if name not in present]:
        raise DataError(f"there is no table {missing[0]!r} in this read model")
    return {name: _hash(connection, name) for name in wanted}


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    where = "database_name = current_database() AND schema_name = current_schema()"
    return {name for (name,) in connection.execute(f"SELECT table_name FROM duckdb_tables() WHERE {where}").fetchall()}  # noqa: S608


def _hash(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    described = connection.execute(f"DESCRIBE {_name(table)}").fetchall()
    columns = [(column, type_) for column, type_, *_ in described]
    # The text of a list quotes what needs it: different rows have different texts.
    row = ", ".join(f"{_name(column)}::VARCHAR" for column, _ in columns)
    sql = f"SELECT count(*), sum(md5_number_lower([{row}]::VARCHAR))::VARCHAR FROM {_name(table)}"  # noqa: S608 - names are quoted
    ((count, total),) = connection.execute(sql).fetchall()
    return hashlib.sha256(f"{columns} {count} {total}".encode()).hexdigest()


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
