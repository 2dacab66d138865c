"""Reads the read model's SQL: one file per projection, and one per named query.

A projection's file is SQL in sections, each introduced by a comment::

    -- projection: transfers
    -- The files that were copied out of guests.

    -- section: table
    CREATE TABLE transfer (…); COMMENT ON …;

    -- section: fold on vm.file_transferred
    INSERT INTO transfer SELECT … FROM batch WHERE type = 'vm.file_transferred';

    -- section: views
    CREATE VIEW transfers AS …; COMMENT ON …;

    -- section: as of
    CREATE VIEW transfer AS SELECT * FROM $present.transfer WHERE seq <= $sequence;

A fold runs when events of the types that it names are in the batch; ``batch`` is the range of the table ``events`` that is being
folded, with events of all types. It must not look at other types: when they come alone, it does not run. A statement that reads ``batch`` is an INSERT, UPDATE, DELETE, MERGE or
SELECT. There may be several folds, which run in their order in the file; the other sections may be missing. Files are used in the
order of their names, so that a view may use what an earlier file made.

``as of`` says what the tables were after the event ``$sequence``, by the rows that they have now (``$present.NAME``), as views: for
tables whose rows tell by their sequences what was not yet so. It must give what folding the events up to there gives, and spares
doing that; without it, they are folded for every moment that is asked for.

A query's file is one SELECT with named parameters, introduced by what it answers and what its parameters are::

    -- The VMs of the current run.
    -- parameter state: only VMs in exactly this state
    SELECT … FROM vms WHERE $state IS NULL OR state = $state

Queries are what the interface asks for itself (``queries/``); questions are what people ask (``questions/``). Their files are alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from vmr import contract
from vmr.errors import DataError, QueryError
from vmr.events import BODY_TYPES

_HEADER: Final = re.compile(r"--\s*(projection|section):\s*(.*?)\s*$")
_PARAMETER: Final = re.compile(r"--\s*parameter\s+([a-z][a-z0-9_]*):\s*(.+?)\s*$")
_USED: Final = re.compile(r"\$([a-z][a-z0-9_]*)")
_WHOLE: Final = re.compile(r"\$([a-z][a-z0-9_]*)::(INTEGER|BIGINT)\b")
_BITS: Final = {"INTEGER": 32, "BIGINT": 64}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_SECTIONS: Final = ("table", "fold on EVENT, EVENT…", "as of", "views")


class Fold(msgspec.Struct, frozen=True):
    """SQL that brings tables up to date with ``batch``, and the event types for which it runs."""

    events: frozenset[str]
    sql: str


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """One projection, as its file says.

    Attributes:
        name: what it is called.
        description: what it holds, from the file's header.
        table: SQL that makes its tables.
        folds: what brings the tables up to date, in order.
        as_of: SQL that makes views, with the names of its tables, of what they were after the event ``$sequence``; may be empty.
        views: SQL that makes its views.
        text: all of the file.
        hash: SHA-256 of the text: a read model made from another text is out of date.

    """

    name: str
    description: str
    table: str
    folds: tuple[Fold, ...]
    as_of: str
    views: str
    text: str
    hash: str

    def same_tables(self, other: Projection) -> bool:
        """Return whether ``other`` makes and folds its tables in the same way; the views may differ."""
        return (self.table, self.folds) == (other.table, other.folds)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One named query, as its file says.

    Attributes:
        name: what it is called; the last part of its request subject.
        description: the question that it answers.
        parameters: what each parameter means; all may be left out.
        sql: the statement, with named parameters.
        whole: the parameters that are whole numbers, and of how many bits.

    """

    name: str
    description: str
    parameters: dict[str, str]
    sql: str
    whole: dict[str, int] = {}


def parse_projection(text: str, place: str) -> Projection:
    """Return the projection that ``text`` describes; raise `DataError`, naming ``place`` and line, where it describes none."""
    name = ""
    prose: list[str] = []
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{place}, line {number}"
        match = _HEADER.match(line)
        if match is None:
            _plain_line(line, current, prose, where)
        elif match[1] == "section":
            current = sections.setdefault(_new_section(match[2], sections, where), [])
        elif name or current is not None:
            raise DataError(f"{where}: a second projection; put it into a file of its own")
        else:
            name = match[2]
    if not _NAME.fullmatch(name):
        raise DataError(f"{place}, line 1: begin with '-- projection: name', the name in lower case")
    if not any(prose):
        raise DataError(
            f"{place}, line 1: no description; say in comment lines before the sections what the projection holds"
        )
    return Projection(
        name=name,
        description=" ".join(prose).strip(),
        table=_sql(sections, "table"),
        folds=tuple(Fold(_events(title), _sql(sections, title)) for title in sections if title.startswith("fold on ")),
        as_of=_sql(sections, "as of"),
        views=_sql(sections, "views"),
        text=text,
        hash=hashlib.sha256(text.encode()).hexdigest(),
    )


def _plain_line(line: str, section: list[str] | None, prose: list[str], where: str) -> None:
    if section is not None:
        section.append(line)
    elif line.startswith("--"):
        prose.append(line.removeprefix("--").strip())
    elif line.strip():
        raise DataError(f"{where}: SQL outside of a section; begin with '-- section: table'")


def _new_section(title: str, sections: dict[str, list[str]], where: str) -> str:
    if title in sections:
        raise DataError(f"{where}: a second section {title!r}; put both into one")
    if title in {"table", "as of", "views"}:
        return title
    if not title.startswith("fold on "):
        raise DataError(f"{where}: no section {title!r}; there are: {'; '.join(_SECTIONS)}")
    if unknown := sorted(_events(title) - BODY_TYPES.keys()):
        raise DataError(f"{where}: no event type {unknown[0]!r}; the types are in streams/schemas")
    return title


def _events(title: str) -> frozenset[str]:
    return frozenset(word.strip() for word in title.removeprefix("fold on ").split(","))


def _sql(sections: dict[str, list[str]], title: str) -> str:
    return "\n".join(sections.get(title, [])).strip()


def parse_query(text: str, name: str, place: str) -> Query:
    """Return the query ``name`` that ``text`` describes; raise `DataError`, naming ``place`` and the mend, where it is wrong."""
    if not _NAME.fullmatch(name):
        raise DataError(f"{place}: the file's name names the query; use lower case letters, digits and '_'")
    prose: list[str] = []
    parameters: dict[str, str] = {}
    lines = text.splitlines()
    while lines and lines[0].startswith("--"):
        line = lines.pop(0)
        if match := _PARAMETER.match(line):
            parameters[match[1]] = match[2]
        else:
            prose.append(line.removeprefix("--").strip())
    sql = "\n".join(lines).strip()
    if not any(prose):
        raise DataError(f"{place}, line 1: begin with a comment that says which question the query answers")
    if odd := sorted(set(_USED.findall(sql)) ^ parameters.keys()):
        raise DataError(
            f"{place}: parameter {odd[0]!r} must be used in the SQL and told of in '-- parameter {odd[0]}: …'"
        )
    whole = {parameter: _BITS[type_] for parameter, type_ in _WHOLE.findall(sql)}
    return Query(name=name, description=" ".join(prose).strip(), parameters=parameters, whole=whole, sql=sql)


def load_projections(folder: Path | None = None) -> tuple[Projection, ...]:
    """Return the projections of ``folder`` (default: vmr's own), in order of their files' names.

    Raises `DataError` where a file is wrong or two say the same name.
    """
    found: dict[str, Projection] = {}
    for path in sorted((folder or contract.projections()).glob("*.sql")):
        projection = parse_projection(path.read_text(encoding="utf-8"), str(path))
        if projection.name in found:
            raise DataError(f"{path}, line 1: there is a projection {projection.name!r} already; give it another name")
        found[projection.name] = projection
    return tuple(found.values())


@cache
def load_queries(folder: Path | None = None) -> dict[str, Query]:
    """Return the named queries of ``folder`` (default: vmr's own) by name; raise `DataError` where a file is wrong."""
    return {
        path.stem: parse_query(path.read_text(encoding="utf-8"), path.stem, str(path))
        for path in sorted((folder or contract.projections() / "queries").glob("*.sql"))
    }


def load_questions() -> dict[str, Query]:
    """Return the questions that people ask, by name; raise `DataError` where a file is wrong."""
    return load_queries(contract.projections() / "questions")


def bind(query: Query, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every parameter of ``query``, None where none is given.

    Raises `QueryError` for a parameter that it has not, and for a value that is no whole number where it must be one: DuckDB says so only
    of a table that has rows.
    """
    if unknown := sorted(given.keys() - query.parameters.keys()):
        known = ", ".join(query.parameters) or "none"
        raise QueryError(f"no parameter {unknown[0]!r}; the parameters of {query.name} are: {known}")
    return {name: _bound(query, name, given.get(name)) for name in query.parameters}


def _bound(query: Query, name: str, value: Any) -> Any:
    bits = query.whole.get(name)
    if value is None or bits is None:
        return value
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        number = 1 << bits
    if not -(1 << bits - 1) <= number < 1 << bits - 1 or (isinstance(value, float) and value != number):
        raise QueryError(f"parameter {name!r} of {query.name}: {value!r} is no whole number of {bits} bits")
    return number
