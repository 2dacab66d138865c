"""Answers as Parquet files, with the types that the columns had in the read model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr.errors import InvalidInputError
from vmr.query import Answer

_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
_PLAIN: Final = frozenset({"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})


def write_parquet(answer: Answer, path: Path) -> None:
    """Write the rows of ``answer`` to ``path``, all or nothing; raise `InvalidInputError` where it cannot be written."""
    part = path.with_name(f"{path.name}.part")
    columns = [_values(type_, [row[place] for row in answer.rows]) for place, type_ in enumerate(answer.types)]
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            connection.execute(
                f"COPY ({_select(answer)}) TO '{_quoted(part, chr(39))}' (FORMAT parquet)", columns
            ).fetchall()
            part.replace(path)
        except (duckdb.IOException, OSError) as error:
            raise InvalidInputError(f"{path}: cannot be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)


def _select(answer: Answer) -> str:
    given, chosen = [], []
    for place, (name, type_) in enumerate(zip(answer.columns, answer.types, strict=True)):
        given.append(f"unnest(${place + 1}::{_carrier(type_)}[]) AS c{place}")
        chosen.append(f'{_typed(f"c{place}", type_)} AS "{_quoted(name, chr(34))}"')
    return f"SELECT {', '.join(chosen)} FROM (SELECT {', '.join(given)})"  # noqa: S608 - names are quoted


def _carrier(type_: str) -> str:
    """Return the type in which values of ``type_`` travel."""
    return type_ if type_ in _PLAIN or type_ in _FLOATS else "VARCHAR"


def _typed(column: str, type_: str) -> str:
    """Return the SQL that makes what it was of a value that travelled (see `Answer`)."""
    if _carrier(type_) == type_ or type_ == "NULL":
        return column
    if type_ == "BLOB":
        return f"from_base64({column})"
    if type_.endswith("]") or type_.startswith(("STRUCT(", "MAP(")):
        return f"{column}::JSON::{type_}"
    return column if type_.startswith("UNION(") else f"{column}::{type_}"


def _values(type_: str, values: Sequence[Any]) -> list[Any]:
    if type_ in _FLOATS:
        return [None if value is None else float(value) for value in values]
    if _carrier(type_) == "VARCHAR":
        return [None if value is None else str(value) for value in values]
    return list(values)


def _quoted(text: object, mark: str) -> str:
    return str(text).replace(mark, mark * 2)
