"""Which projections a read model holds, from which text, and what each has made there: the table ``projections``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import duckdb
import msgspec

from vmr.errors import DataError
from vmr.event_columns import KINDS
from vmr.events import BODY_TYPES
from vmr.projections import Projection, parse_projection

_MADE: Final = re.compile(r"^CREATE (TABLE|VIEW) (\w+)", re.MULTILINE)


class Installed(msgspec.Struct, frozen=True):
    """A projection as a read model holds it.

    Attributes:
        name: its name.
        hash: what `hash_of` said of it.
        objects: what it has made, in order: ``TABLE attempt``, ``VIEW attempts``.
        projection: what folds it; None where this vmr cannot read the text that did.

    """

    name: str
    hash: str
    objects: tuple[str, ...]
    projection: Projection | None


def installed(connection: duckdb.DuckDBPyConnection) -> dict[str, Installed]:
    """Return the projections of the read model in ``connection`` by name, in their order; none of a new database."""
    tables = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'projections'").fetchall()
    if tables[0][0] == 0:
        return {}
    found = connection.execute("SELECT * FROM projections ORDER BY rowid")
    columns = [column[0] for column in found.description or []]
    rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return {
        row["name"]: Installed(row["name"], row["hash"], tuple(row["objects"]), _read(row["name"], row.get("text", "")))
        for row in rows
    }


def _read(name: str, text: str) -> Projection | None:
    try:
        return parse_projection(text, f"projection {name} of the read model")
    except DataError:
        return None


def is_installed(connection: duckdb.DuckDBPyConnection, database: str, projection: Projection) -> bool:
    """Return whether the tables of ``projection`` in the read model ``database`` were folded by exactly this text."""
    rows = connection.execute(
        f'SELECT hash FROM "{database}".main.projections WHERE name = ?',  # noqa: S608 - a name
        [projection.name],
    ).fetchall()
    return rows == [(hash_of(projection),)]


def hash_of(projection: Projection) -> str:
    """Return what the projection is made of; the first holds what Python fills, so columns and known events count as well."""
    filled = repr((KINDS, known_events())) if projection.name == "events" else ""
    return hashlib.sha256(f"{projection.hash}{filled}".encode()).hexdigest()


def known_events() -> list[tuple[str, int]]:
    """Return every event type with the newest version of it that this vmr knows: what was kept raw before folds once it is among them."""
    return sorted((name, body.VERSION) for name, body in BODY_TYPES.items())


def made_by(projection: Projection) -> list[tuple[str, str]]:
    """Return what ``projection`` makes, in order: TABLE or VIEW, and the name."""
    return _MADE.findall(f"{projection.table}\n{projection.views}")


def tables_made_by(projection: Projection) -> list[str]:
    """Return the names of the tables that ``projection`` makes, in order."""
    return [name for kind, name in made_by(projection) if kind == "TABLE"]


def remember(connection: duckdb.DuckDBPyConnection, projections: Iterable[Projection]) -> None:
    """Write down that the read model now holds exactly ``projections``."""
    connection.execute("DELETE FROM projections")
    for one in projections:
        connection.execute(
            "INSERT INTO projections VALUES (?, ?, ?, ?)",
            [one.name, hash_of(one), one.text, [f"{kind} {name}" for kind, name in made_by(one)]],
        ).fetchall()


def drop(connection: duckdb.DuckDBPyConnection, objects: Iterable[str]) -> None:
    """Drop what `Installed.objects` names, the last first."""
    for kind_and_name in reversed(list(objects)):
        connection.execute(f"DROP {kind_and_name}")
