"""What can be spoken of in SQL here: tables, views, columns, functions and keywords, as the database itself says."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vmr import contract
from vmr.cli.shell.readers import Reader
from vmr.projections import Query, load_queries, load_questions
from vmr.query import Answer

_SECONDS: Final = 30.0


class Column(msgspec.Struct, frozen=True):
    """A column: its name, the name of its type, and its comment."""

    name: str
    type: str
    comment: str


class Table(msgspec.Struct, frozen=True):
    """A table or view (``kind`` says which), its comment, and its columns in order."""

    name: str
    kind: str
    comment: str
    columns: tuple[Column, ...]


class Catalog(msgspec.Struct, frozen=True):
    """Everything that can be completed.

    Attributes:
        tables: tables and views by name, views first.
        functions: names of functions.
        keywords: SQL's keywords, in lower case.
        questions: what can be asked by name.

    """

    tables: dict[str, Table]
    functions: tuple[str, ...]
    keywords: tuple[str, ...]
    questions: dict[str, Query]


def load_catalog(reader: Reader) -> Catalog:
    """Return what ``reader`` knows; raise `vmr.errors.VmrError` when it does not answer."""
    tables: dict[str, dict[str, Any]] = {}
    for row in _asked(reader, "columns").records():
        table = tables.setdefault(
            row["name"], {"name": row["name"], "kind": row["kind"], "comment": row["comment"], "columns": []}
        )
        table["columns"].append(Column(row["column_name"], row["data_type"], row["column_comment"]))
    words = _asked(reader, "words").rows
    return Catalog(
        tables={name: msgspec.convert(table, Table) for name, table in tables.items()},
        functions=tuple(name for kind, name in words if kind == "function"),
        keywords=tuple(name for kind, name in words if kind == "keyword"),
        questions=load_questions() | load_queries(),
    )


def _asked(reader: Reader, name: str) -> Answer:
    query = load_queries(contract.projections() / "shell")[name]
    return reader.ask("sql", {"sql": query.sql}, timeout=_SECONDS)
