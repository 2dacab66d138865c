"""Turns events into columns, and columns into rows of the table ``events``.

Decoding an event has given its fields as typed values; they go straight into typed columns, so that no fold parses JSON to filter.
Which field has which column follows from the event types (a test holds the table against it): a field that holds one value has a
column of its name, but for the few names in `RENAMED`. Values that a column cannot hold (numbers beyond 64 bits) are left to
``body``: an odd event must not stop the projector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

import duckdb
import msgspec
import numpy as np

from vmr.events import BODY_TYPES, Body, ExperimentCleared, KnownBody, Recorded, Unknown

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
    """A field of a body that has a column: the field's name, the column's, and what kind of value it holds."""

    attribute: str
    column: str
    kind: Kind


def fields_of(body: type[Body]) -> tuple[Field, ...]:
    """Return the fields of ``body`` that have a column."""
    info = msgspec.inspect.type_info(body)
    assert isinstance(info, msgspec.inspect.StructType)
    found = ((field.name, _kind(field.type)) for field in info.fields)
    return tuple(
        Field(name, RENAMED.get(f"{body.type_name()}.{name}", RENAMED.get(name, name)), kind)
        for name, kind in found
        if kind is not None and name not in BODY_ONLY
    )


def _kind(info: msgspec.inspect.Type) -> Kind | None:
    if isinstance(info, msgspec.inspect.UnionType):
        kinds = {_kind(option) for option in info.types if not isinstance(option, msgspec.inspect.NoneType)}
        return kinds.pop() if len(kinds) == 1 else None
    if isinstance(info, msgspec.inspect.Metadata):
        return _kind(info.type)
    return _inspect_kinds.get(type(info))


_FIELDS: Final[dict[type[Body], tuple[Field, ...]]] = {body: fields_of(body) for body in BODY_TYPES.values()}
_GETTERS: Final[dict[type[Body], Callable[[Any], Any]]] = {
    body: attrgetter(*(field.attribute for field in fields)) for body, fields in _FIELDS.items() if fields
}
KINDS: Final[dict[str, Kind]] = COMMON | {field.column: field.kind for fields in _FIELDS.values() for field in fields}
"""Every column of the table ``events``, and what it holds."""


def begins_run(record: Recorded) -> bool:
    """Return whether ``record`` is the first of a run: the first event of all, or one that clears everything."""
    body = record.event.body
    clears = isinstance(body, ExperimentCleared) and len(set(body.scope)) == _ALL_SCOPES
    return record.sequence == 1 or clears


def columns_of(batch: Sequence[Recorded], run: int) -> dict[str, list[Any]]:
    """Return the columns of ``batch``, which follows events of run number ``run``; columns without any value are left out.

    Times are microseconds since the epoch.
    """
    events = [record.event for record in batch]
    columns: dict[str, list[Any]] = {
        "seq": [record.sequence for record in batch],
        "run": _runs(batch, run),
        "time": [microseconds(event.time) for event in events],
        "stored": [record.stored // 1000 for record in batch],
        "id": [event.id for event in events],
        "producer": [event.producer for event in events],
        "type": [event.type for event in events],
        "version": _integers(event.version for event in events),
        "known": [not isinstance(event.body, Unknown) for event in events],
        "subject": [record.subject for record in batch],
        "body": [_json(event.body) for event in events],
    }
    places: dict[type[KnownBody], list[int]] = {}
    for place, event in enumerate(events):
        if not isinstance(event.body, Unknown):
            places.setdefault(type(event.body), []).append(place)
    for body, found in places.items():
        _fill(columns, body, [events[place].body for place in found], found, len(batch))
    return columns


def _runs(batch: Sequence[Recorded], run: int) -> list[int]:
    runs = []
    for record in batch:
        run += begins_run(record)
        runs.append(run)
    return runs


def _fill(
    columns: dict[str, list[Any]], body: type[Body], bodies: Sequence[object], places: Sequence[int], size: int
) -> None:
    fields = _FIELDS[body]
    if not fields:
        return
    rows = map(_GETTERS[body], bodies)
    transposed: Iterable[tuple[Any, ...]] = zip(*rows, strict=True) if len(fields) > 1 else (tuple(rows),)
    for field, values in zip(fields, transposed, strict=True):
        column = columns.setdefault(field.column, [None] * size)
        for place, value in zip(places, _column_values(field.kind, values), strict=True):
            column[place] = value


def _column_values(kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    if kind == "time":
        return [None if value is None else microseconds(value) for value in values]
    if kind == "integer":
        return _integers(values)
    return values


def _integers(values: Iterable[int | None]) -> list[int | None]:
    return [value if value is not None and -_INT64 <= value < _INT64 else None for value in values]


def microseconds(moment: datetime) -> int:
    """Return ``moment`` in microseconds since the epoch; one without a time zone is taken as UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _json(body: KnownBody | Unknown) -> str:
    if not isinstance(body, Unknown):
        return _encoder.encode(body).decode()
    try:
        text = body.raw.decode()
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _encoder.encode({"unreadable": body.raw.decode(errors="backslashreplace")}).decode()
    return text


def insert(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert ``columns`` as rows of ``events``."""
    filled = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    if len(columns["seq"]) <= _FEW:
        _insert_few(connection, filled)
    else:
        _insert_many(connection, filled)


def _insert_few(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Sequence[Any]]) -> None:
    row = ", ".join("make_timestamptz(?::BIGINT)" if KINDS[name] == "time" else "?" for name in columns)
    rows = list(zip(*columns.values(), strict=True))
    connection.execute(
        f"INSERT INTO events ({', '.join(columns)}) VALUES {', '.join([f'({row})'] * len(rows))}",  # noqa: S608 - names
        [value for values in rows for value in values],
    ).fetchall()


def _insert_many(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Sequence[Any]]) -> None:
    casts = {"time": "::TIMESTAMPTZ", "boolean": "::BOOLEAN"}
    chosen = ", ".join(f"{name}{casts.get(KINDS[name], '')}" for name in columns)
    # A batch that fails leaves its name behind, for the next batch to replace.
    connection.register("incoming", {name: _array(KINDS[name], values) for name, values in columns.items()})
    connection.execute(f"INSERT INTO events ({', '.join(columns)}) SELECT {chosen} FROM incoming").fetchall()  # noqa: S608
    connection.unregister("incoming")


def _array(kind: Kind, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if kind == "text":
        return np.array(values, dtype=object)
    if kind == "float":
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    missing = [value is None for value in values]
    numbers = np.array(
        [0 if value is None else value for value in values], dtype=np.int8 if kind == "boolean" else np.int64
    )
    if kind == "time":
        moments = numbers.view("datetime64[us]")
        moments[missing] = np.datetime64("NaT")
        return moments
    return np.ma.masked_array(numbers, mask=missing) if any(missing) else numbers
