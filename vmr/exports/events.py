"""The events of a run as the log held them, from its read model.

A read model keeps events in columns. What vmr has published comes out byte for byte as it was in the log; a message that another
program wrote in a JSON of its own comes out as vmr writes it, the time of storing in microseconds, and JSON that nobody can read as the
text that the read model has kept of it. The log itself and archives keep every message as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb
import msgspec

from vmr.events import Recorded, SchedulePublished
from vmr.exports.sql import batches_of
from vmr.messages import UNREADABLE, recorded_of

_MOST: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Unreadable(msgspec.Struct, frozen=True):
    """What stands in the read model for a message that was no event."""

    data: bytes


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log, in the order in which vmr writes its fields."""

    id: str
    time: datetime
    producer: str
    version: int
    body: msgspec.Raw


def count_of(record: duckdb.DuckDBPyConnection) -> int:
    """Return how many events the run that ``record`` has attached has."""
    count: int = record.execute("SELECT count(*) FROM events WHERE run = (SELECT run FROM log_cursor)").fetchall()[0][0]
    return count


def events_of(record: duckdb.DuckDBPyConnection) -> Iterator[Recorded]:
    """Yield the events of the run that ``record`` (see `vmr.record.connect`) has attached, in order, in constant memory."""
    for row in batches_of(record, "events"):
        yield _recorded(**row)


def _recorded(
    seq: int,
    stored: int,
    time: int,
    id: str,  # noqa: A002 - a row's column
    producer: str,
    type: str,  # noqa: A002 - a row's column
    version: int | None,
    known: bool,  # noqa: FBT001 - a row's column
    subject: str,
    body: str,
) -> Recorded:
    if type == UNREADABLE and not known:
        return recorded_of(seq, stored * 1000, subject, _kept(body))
    message = _Message(
        id=id,
        time=_EPOCH + timedelta(microseconds=time),
        producer=producer,
        version=_MOST if version is None else version,
        body=msgspec.Raw(_body(type, body, known=known)),
    )
    return recorded_of(seq, stored * 1000, subject, msgspec.json.encode(message))


def _kept(body: str) -> bytes:
    """Return the message that was no event, which the read model keeps as it came."""
    return msgspec.json.decode(body, type=_Unreadable).data


def _body(kind: str, body: str, *, known: bool) -> bytes:
    """Return the event's body as it was in the log."""
    if kind == SchedulePublished.type_name() and known and '"entries_object"' in body:
        # The read model has put in the entries, which were too large for the event and are an object.
        published = msgspec.json.decode(body, type=SchedulePublished)
        if published.entries_object is not None:
            return msgspec.json.encode(msgspec.structs.replace(published, entries=()))
    if not known and "type" not in msgspec.json.decode(body):
        # JSON that could not be read was kept as text.
        return msgspec.json.encode({"type": kind} | msgspec.json.decode(body))
    return body.encode()
