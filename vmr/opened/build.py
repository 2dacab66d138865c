"""Builds a read model over the Parquet files of an archive: a view of its events, and the tables that are folded from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import duckdb
import msgspec
import structlog

from vmr import read_model
from vmr.errors import DataError
from vmr.event_columns import json_body
from vmr.events import Recorded, SchedulePublished, Unknown, encode
from vmr.messages import recorded_of
from vmr.projections import Projection, load_projections
from vmr.read_model import fold_all
from vmr.schedule import Entry, ObjectRef

Tell: TypeAlias = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it is."""

FILLED: Final = "filled.parquet"
_MEMORY: Final = "600MB"
STEP: Final = 2_000_000
"""Events that are folded in one transaction: nobody reads the file before it is whole."""
_COMMENT: Final = "COMMENT ON "
_encoder: Final = msgspec.json.Encoder()
_entries: Final = msgspec.json.Decoder(tuple[Entry, ...])

log = structlog.get_logger(__name__)


class ObjectSource(Protocol):
    """Where the content of objects is: `vmr.archive.Archive` is one."""

    def object(self, ref: ObjectRef) -> bytes:
        """Return an object's content, checked against its hash."""
        ...


@contextlib.contextmanager
def working(folder: Path, threads: int = 2) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a database in memory that spills to ``folder`` and keeps within its share of memory."""
    connection = duckdb.connect(config={"threads": threads, "autoinstall_known_extensions": False})
    try:
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{quoted(folder)}'")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def quoted(path: Path) -> str:
    """Return ``path`` as it stands between quotes in SQL."""
    return str(path).replace("'", "''")


def parquet(files: Sequence[Path]) -> str:
    """Return the SQL that reads ``files`` one after another."""
    names = ", ".join(f"'{quoted(file)}'" for file in files)
    return f"read_parquet([{names}])"


def fill(files: Sequence[Path], objects: ObjectSource, folder: Path) -> list[Path]:
    """Write the events whose message is not the whole of their body to a file of ``folder``; return it, or nothing when there are none.

    These are schedules that were too large for their events (the projector puts the entries in while it folds; an archive keeps event
    and object apart, as the log does), and messages that are no JSON.
    """
    with working(folder) as connection:
        messages = f"SELECT seq, stored_ns, subject, payload FROM {parquet(files)}"  # noqa: S608 - paths are quoted
        # Two statements: each leaves what it does not look at in the files.
        rows = connection.execute(
            f"{messages} WHERE type = 'schedule.published' AND contains(payload::VARCHAR, 'entries_object')"
            f" UNION ALL {messages} WHERE NOT known"
            " AND (type = 'unreadable' OR NOT coalesce(TRY(json_valid(decode(payload))), false))"
        ).fetchall()
        filled = [(row[0], whole) for row in rows if (whole := _whole(recorded_of(*row), objects)) is not None]
        if not filled:
            return []
        connection.execute("CREATE TABLE filled (seq BIGINT, payload BLOB)")
        connection.executemany("INSERT INTO filled VALUES (?, ?)", filled)
        target = folder / FILLED
        connection.execute(
            f"COPY (SELECT e.* REPLACE (f.payload AS payload) FROM {parquet(files)} AS e JOIN filled AS f USING (seq)"  # noqa: S608
            f" ORDER BY seq) TO '{quoted(target)}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return [target]


def _whole(recorded: Recorded, objects: ObjectSource) -> bytes | None:
    """Return a message with the whole body, as the projector would fold it; None when the event's own is that."""
    body = recorded.event.body
    if isinstance(body, Unknown):
        return _encoder.encode({"body": msgspec.Raw(json_body(body).encode())})
    if not isinstance(body, SchedulePublished) or body.entries_object is None:
        return None
    try:
        entries = _entries.decode(objects.object(body.entries_object))
    except (DataError, msgspec.MsgspecError) as error:
        log.warning("the entries of a schedule cannot be read", sequence=recorded.sequence, error=str(error))
        return None
    return encode(msgspec.structs.replace(recorded.event, body=msgspec.structs.replace(body, entries=entries)))


def build(path: Path, files: Sequence[Path], filled: Sequence[Path], *, tell: Tell | None = None) -> None:
    """Make the read model ``path`` of the events in ``files``, of which those in ``filled`` replace those of the same sequence.

    Raises `DataError` when the files are no events of vmr's.
    """
    try:
        with contextlib.closing(read_model.open_database(path, threads=2)) as connection:
            connection.execute(
                f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{quoted(path.with_name(path.name + '.spill'))}'"
            )
            projections = load_projections()
            read_model.prepare(connection, projections)
            show_events(connection, projections[0], relation_of(files, filled))
            first, last = bounds(connection)
            told = None if tell is None else partial(_tell, tell, first, last)
            fold_all(connection, projections, first, last, step=STEP, tell=told)
    except duckdb.Error as error:
        raise DataError(f"the events of the archive cannot be folded: {error}") from error


def show_events(
    connection: duckdb.DuckDBPyConnection,
    projection: Projection,
    relation: str,
    *,
    changed: dict[str, str] | None = None,
) -> None:
    """Replace the empty table ``events`` by a view of ``relation`` (SQL), with the same columns and comments.

    ``changed`` has SQL for columns that are to hold something else than the relation's.
    """
    columns = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'events' AND database_name = current_database()"
        " ORDER BY column_index"
    ).fetchall()
    there = {name for name, *_ in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}  # noqa: S608
    shown = ", ".join(_column(name, type_, there, changed or {}) for name, type_ in columns)
    connection.execute(f"DROP TABLE events; CREATE VIEW events AS SELECT {shown} FROM {relation}")  # noqa: S608
    for statement in duckdb.extract_statements(projection.table):
        text = statement.query.strip()
        if text.startswith((f"{_COMMENT}TABLE events ", f"{_COMMENT}COLUMN events.")):
            connection.execute(text.replace(f"{_COMMENT}TABLE", f"{_COMMENT}VIEW", 1))


def relation_of(files: Sequence[Path], filled: Sequence[Path]) -> str:
    """Return the SQL that reads the events in ``files``, of which those in ``filled`` replace those of the same sequence."""
    if not filled:
        return parquet(files)
    replaced = f"SELECT seq FROM {parquet(filled)}"  # noqa: S608 - paths are quoted
    return f"(FROM {parquet(files)} WHERE seq NOT IN ({replaced}) UNION ALL BY NAME FROM {parquet(filled)})"


def _column(name: str, type_: str, there: set[str], changed: dict[str, str]) -> str:
    if name in changed:
        return f"({changed[name]})::{type_} AS {name}"
    if name == "body" and name not in there:
        return "decode(payload)::JSON->'body' AS body"
    if name in there:
        return f"{name}::{type_} AS {name}"
    # A column that this version has and the one that made the archive had not: the body says it under the same name.
    return f"try_cast(decode(payload)::JSON->'body'->>'{name}' AS {type_}) AS {name}"


def bounds(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Return the sequences of the first and the last event of ``events``; raise `DataError` when there is none."""
    rows = connection.execute("SELECT min(seq), max(seq) FROM events").fetchall()
    first, last = rows[0]
    if first is None:
        raise DataError("the archive has no events")
    return first, last


def _tell(tell: Tell, first: int, last: int, reached: int) -> None:
    tell("folding", reached - first + 1, last - first + 1)
