"""Answers as Parquet and Arrow files, with the types that the columns had in the read model."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import duckdb

from vmr import new_files
from vmr.errors import InvalidInputError
from vmr.query import Answer

_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
_PLAIN: Final = frozenset({"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})


def write_parquet(answer: Answer, path: Path) -> None:
    """Write the rows of ``answer`` to ``path``, all or nothing; raise `InvalidInputError` where it cannot be written."""
    with new_files.writing(path, force=True) as part, _connected() as connection:
        connection.execute(
            f"COPY ({_select(answer)}) TO '{_quoted(part, chr(39))}' (FORMAT parquet)", _columns(answer)
        ).fetchall()


def check_arrow(*, to_terminal: bool) -> None:
    """Raise `InvalidInputError` when Arrow cannot be written: without its library, or to a terminal."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InvalidInputError("Arrow needs a library of its own: pip install 'vmr[arrow]'")
    if to_terminal:
        raise InvalidInputError(
            "--arrow - writes bytes, which a terminal does not show: send them into a file or a program"
        )


def write_arrow(answer: Answer, path: Path) -> None:
    """Write the rows of ``answer`` to ``path`` as an Arrow IPC file (Feather), all or nothing.

    Raises `InvalidInputError` where it cannot be written, or without Arrow's library.
    """
    check_arrow(to_terminal=False)
    table = _arrow(answer)
    with new_files.writing(path, force=True) as part, part.open("wb") as file:
        _write_ipc(table, file, stream=False)


def write_arrow_stream(answer: Answer, file: BinaryIO) -> None:
    """Write the rows of ``answer`` to ``file`` as an Arrow IPC stream; raise `InvalidInputError` without Arrow's library."""
    check_arrow(to_terminal=False)
    _write_ipc(_arrow(answer), file, stream=True)
    file.flush()


def _write_ipc(table: Any, file: BinaryIO, *, stream: bool) -> None:
    from pyarrow import ipc  # type: ignore[import-untyped]  # noqa: PLC0415 - it is optional, and has no types

    new = ipc.new_stream if stream else ipc.new_file
    with new(file, table.schema) as writer:
        writer.write_table(table)


def _arrow(answer: Answer) -> Any:
    with _connected() as connection:
        return connection.sql(_select(answer), params=_columns(answer)).to_arrow_table()


@contextlib.contextmanager
def _connected() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def _columns(answer: Answer) -> list[list[Any]]:
    return [_values(type_, [row[place] for row in answer.rows]) for place, type_ in enumerate(answer.types)]


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
