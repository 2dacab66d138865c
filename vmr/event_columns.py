"""Turns events into rows of the table ``events``.

What every event says is taken from the decoded event. The fields of its body get typed columns, so that no fold parses JSON to
filter: DuckDB takes them out of the body's JSON, whole batches at a time, several times as fast as Python can hand them over one by
one. Which field has which column follows from the event types (a test holds the table against it): a field that holds one value
has a column of its name, but for the few names in `RENAMED`. Values that a column cannot hold (numbers beyond 64 bits) are left
to ``body``: an odd event must not stop the projector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import duckdb
import msgspec
import numpy as np

from vmr.events import BODY_TYPES, Body, ExperimentCleared, KnownBody, Recorded, Unknown, body_json
from vmr.statements import run as execute

Kind: TypeAlias = Literal["text", "integer", "float", "boolean", "time"]

RENAMED: Final = {
    "current_time": "vm_time",
    "offset": "first_byte",
    "vm.entry_started.start_time": "scheduled_time",
}
"""Fields whose column has another name: because SQL has it for itself, or because another event's field means something else."""

BODY_ONLY: Final = frozenset({"text"})
"""Fields without a column: output is in a table of its own."""

COMMON: Final[dict[str, Kind]] = {
    "seq": "integer",
    "run": "integer",
    "time": "time",
    "stored": "time",
    "id": "text",
    "producer": "text",
    "type": "text",
    "version": "integer",
    "known": "boolean",
    "subject": "text",
    "body": "text",
}
"""Columns that every event fills."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = 2**63
_FEW: Final = 16
_ALL_SCOPES: Final = 3

_DUCKDB: Final[dict[Kind, str]] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "float": "DOUBLE",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMPTZ",
}
_encoder = msgspec.json.Encoder()
_inspect_kinds: Final[dict[type, Kind]] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.LiteralType: "text",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "float",
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.DateTimeType: "time",
}


class Field(msgspec.Struct, frozen=True):
    """A field of a body that has a column: the field's name, the column's, what kind of value it holds, and what it is when left out."""

    attribute: str
    column: str
    kind: Kind
    default: str | int | float | None = None


def fields_of(body: type[Body]) -> tuple[Field, ...]:
    """Return the fields of ``body`` that have a column."""
    info = msgspec.inspect.type_info(body)
    assert isinstance(info, msgspec.inspect.StructType)
    found = ((field.name, _kind(field.type), field.default) for field in info.fields)
    return tuple(
        Field(
            name,
            RENAMED.get(f"{body.type_name()}.{name}", RENAMED.get(name, name)),
            kind,
            None if default is msgspec.NODEFAULT else default,
        )
        for name, kind, default in found
        if kind is not None and name not in BODY_ONLY
    )


def _kind(info: msgspec.inspect.Type) -> Kind | None:
    if isinstance(info, msgspec.inspect.UnionType):
        kinds = {_kind(option) for option in info.types if not isinstance(option, msgspec.inspect.NoneType)}
        return kinds.pop() if len(kinds) == 1 else None
    if isinstance(info, msgspec.inspect.Metadata):
        return _kind(info.type)
    return _inspect_kinds.get(type(info))


_FIELDS: Final = {name: fields_of(body) for name, body in BODY_TYPES.items()}
_NAMES: Final[dict[type, str]] = {body: name for name, body in BODY_TYPES.items()}
KINDS: Final[dict[str, Kind]] = COMMON | {field.column: field.kind for fields in _FIELDS.values() for field in fields}
"""Every column of the table ``events``, and what it holds."""


def begins_run(record: Recorded) -> bool:
    """Return whether ``record`` is the first of a run: the first event of all, or one that clears everything."""
    body = record.event.body
    clears = isinstance(body, ExperimentCleared) and len(set(body.scope)) == _ALL_SCOPES
    return record.sequence == 1 or clears


def columns_of(batch: Sequence[Recorded], run: int, *, few: bool = True) -> dict[str, list[Any]]:
    """Return the columns of ``batch``, which follows events of run number ``run``, for `insert`.

    Times are microseconds since the epoch. ``fields`` is the JSON object that the bodies' fields are in, where it is not ``body``;
    a few events come with the fields' own columns instead, which is quicker then, unless ``few`` is False.
    """
    events = [record.event for record in batch]
    kinds = [type(event.body) for event in events]
    bodies = [_body(record) for record in batch]
    columns: dict[str, list[Any]] = {
        "seq": [record.sequence for record in batch],
        "run": _runs(batch, run) if ExperimentCleared in kinds or batch[0].sequence == 1 else [run] * len(batch),
        "time": [microseconds(event.time) for event in events],
        "stored": [record.stored // 1000 for record in batch],
        "id": [event.id for event in events],
        "producer": [event.producer for event in events],
        "type": [_NAMES.get(kind) or event.type for kind, event in zip(kinds, events, strict=True)],
        "version": [event.version if -_INT64 <= event.version < _INT64 else None for event in events],
        "known": [kind is not Unknown for kind in kinds],
        "subject": [record.subject for record in batch],
        "body": [body for body, _ in bodies],
    }
    if len(batch) > _FEW or not few:
        return columns | {"fields": [fields for _, fields in bodies]}
    names = {field.column for event in events for field in _FIELDS.get(event.type, ())}
    return columns | {name: [_value(record, name) for record in batch] for name in sorted(names)}


def _value(record: Recorded, column: str) -> Any:
    """Return what the event says in ``column``, as the database takes it."""
    body = record.event.body
    for field in () if isinstance(body, Unknown) else _FIELDS[body.type_name()]:
        if field.column == column:
            value = getattr(body, field.attribute)
            if isinstance(value, datetime):
                return microseconds(value)
            return None if field.kind == "integer" and value is not None and not -_INT64 <= value < _INT64 else value
    return None


def _runs(batch: Sequence[Recorded], run: int) -> list[int]:
    runs = []
    for record in batch:
        run += begins_run(record)
        runs.append(run)
    return runs


def microseconds(moment: datetime) -> int:
    """Return ``moment`` in microseconds since the epoch; one without a time zone is taken as UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _body(record: Recorded) -> tuple[str, str | None]:
    """Return the body as JSON, and the JSON of its fields where that is another: what the log holds may say more than is known."""
    body = record.event.body
    if isinstance(body, Unknown):
        return json_body(body), "{}"
    known = _encoder.encode(body)
    if not record.data or record.data.endswith(known, 0, -1):
        return known.decode(), None
    said = body_json(record)
    return (known.decode(), None) if said is None else (_readable(said), known.decode())


def json_body(body: KnownBody | Unknown) -> str:
    """Return what the column ``body`` holds of ``body``: always JSON, also of what is none."""
    return _readable(body.raw) if isinstance(body, Unknown) else _encoder.encode(body).decode()


def _readable(raw: bytes) -> str:
    try:
        text = raw.decode()
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _encoder.encode({"unreadable": raw.decode(errors="backslashreplace")}).decode()
    return text


def insert(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Sequence[Any]], table: str = "events") -> None:
    """Insert ``columns`` (of `columns_of`) as rows of ``table``, which has the columns of ``events``."""
    if "fields" in columns:
        # A batch that fails leaves its name behind, for the next batch to replace.
        connection.register("incoming", arrays_of(columns))
        execute(connection, f"INSERT INTO {table} BY NAME {selection(frozenset(columns['type']))}")
        connection.unregister("incoming")
        return
    row = ", ".join("make_timestamptz(?::BIGINT)" if KINDS[name] == "time" else "?" for name in columns)
    values = ", ".join([f"({row})"] * len(columns["seq"]))
    given = [value for row in zip(*columns.values(), strict=True) for value in row]
    execute(connection, f"INSERT INTO {table} ({', '.join(columns)}) VALUES {values}", given)  # noqa: S608 - names


def arrays_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return ``columns`` (of `columns_of`, with ``fields``) as what DuckDB reads quickly, to be registered as ``incoming``."""
    return {name: _array(name, values) for name, values in columns.items()}


@cache
def selection(types: frozenset[str], *others: str) -> str:
    """Return the SELECT of the columns of ``events``, for events of these types, from ``incoming``; ``others`` are columns to keep.

    Columns that no event of these types fills are left out.
    """
    fields = {field.column: field for name in types for field in _FIELDS.get(name, ())}
    keys = {field.attribute: _DUCKDB[field.kind] for field in fields.values()}
    # A name that means another thing in another event is read as text, and cast where it is meant.
    keys |= {
        key: "VARCHAR" for key in keys if len({field.kind for field in fields.values() if field.attribute == key}) > 1
    }
    chosen = [f"{_common(name)} AS {name}" for name in COMMON]
    chosen += [f"{_field(field)} AS {name}" for name, field in fields.items()]
    # DuckDB wants at least one key.
    shape = msgspec.json.encode(keys or {"type": "VARCHAR"}).decode()
    return (
        f"SELECT {', '.join([*chosen, *others])} "  # noqa: S608 - names
        f"FROM (SELECT *, json_transform(coalesce(fields, body), '{shape}') AS f FROM incoming)"
    )


def _common(column: str) -> str:
    return f"make_timestamptz({column})" if COMMON[column] == "time" else f"{column}::{_DUCKDB[COMMON[column]]}"


def _field(field: Field) -> str:
    """Return the column's value: the field, of the events in which it means this column; what was left out is its default."""
    meant = {name: one for name, fields in _FIELDS.items() for one in fields if one.column == field.column}
    having = {name for name, body in BODY_TYPES.items() if field.attribute in body.__struct_fields__}
    value = f'f."{field.attribute}"::{_DUCKDB[field.kind]}'
    if having != meant.keys():
        value = f"CASE WHEN type IN ({', '.join(map(_text, sorted(meant)))}) THEN {value} END"
    defaults = {name: _text(one.default) for name, one in meant.items() if one.default is not None}
    if not defaults:
        return value
    cases = " ".join(f"WHEN {_text(name)} THEN {default}" for name, default in sorted(defaults.items()))
    return f"coalesce({value}, CASE WHEN known THEN CASE type {cases} END END)"


def _text(value: str | float) -> str:
    """Return ``value`` as SQL."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _array(name: str, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if KINDS.get(name, "text") == "text":
        return np.array(values, dtype=object)
    missing = [value is None for value in values]
    numbers = np.array([0 if value is None else value for value in values], dtype=np.int64)
    return np.ma.masked_array(numbers, mask=missing) if any(missing) else numbers
