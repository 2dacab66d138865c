"""Between events and the log's messages, both ways."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import structlog

from vmr.errors import DataError, InvalidInputError
from vmr.eventlog import Fence
from vmr.events import Event, KnownBody, Recorded, Unknown, decode, encode, new_event, subject_of
from vmr.log._feed import Raw
from vmr.log._writer import Outgoing
from vmr.subjects import ROOT, check_database

_log = structlog.get_logger(__name__)
UNREADABLE = "unreadable"
"""Type of the `Unknown` event that stands for a message which is no event at all."""


def to_message(db: str, event: Event, *, expected: int | None = None, fence: Fence | None = None) -> Outgoing:
    """Return the message that says ``event`` in database ``db``."""
    if isinstance(event.body, Unknown):
        raise InvalidInputError(
            f"event {event.id} of type {event.body.type!r} is not known to this version: update vmr"
        )
    return Outgoing(subject_of(db, event.body), encode(event), event.id, expected, fence)


def to_messages(db: str, producer: str, bodies: Iterable[KnownBody], *, fence: Fence | None = None) -> list[Outgoing]:
    """Return the messages that say ``bodies``, now, while ``fence`` holds."""
    return [to_message(db, new_event(body, producer=producer), fence=fence) for body in bodies]


def copy_of(db: str, record: Recorded) -> Outgoing:
    """Return the message that says in database ``db`` what ``record`` says, byte for byte; raise `InvalidInputError` for another's."""
    root, _, rest = record.subject.partition(".")
    _, _, place = rest.partition(".")
    if root != ROOT or not all(place.split(".")):
        raise InvalidInputError(
            f"event {record.sequence} is on subject {record.subject[:200]!r}, which is none of vmr's"
        )
    # The sequence makes the message's id one of its own: a log may hold an event twice, and so does its copy.
    identity = f"{record.event.id}+{record.sequence}"
    return Outgoing(
        f"{ROOT}.{check_database(db)}.{place}", record.data or encode(record.event), identity, stored=record.stored
    )


def to_recorded(raw: Raw) -> Recorded:
    """Return the event in ``raw``. What is no event becomes an `Unknown` of type ``unreadable`` that keeps the bytes."""
    try:
        event = decode(raw.data)
    except DataError as error:
        event = _unreadable(raw, str(error))
    return Recorded(sequence=raw.sequence, stored=raw.stored, subject=raw.subject, event=event, data=raw.data)


def recorded_of(sequence: int, stored: int, subject: str, data: bytes) -> Recorded:
    """Return the event in the message ``data`` as the log holds it, wherever the message was kept; ``stored`` is in nanoseconds."""
    return to_recorded(Raw(sequence, stored, subject, data, 0))


def _unreadable(raw: Raw, reason: str) -> Event:
    _log.warning("a message in the log is no event", sequence=raw.sequence, subject=raw.subject, reason=reason)
    body = {"type": UNREADABLE, "reason": reason, "data": base64.b64encode(raw.data).decode()}
    return Event(
        id=f"{UNREADABLE}-{raw.sequence}",
        time=datetime.fromtimestamp(raw.stored / 1e9, UTC),
        producer="",
        version=0,
        body=Unknown(type=UNREADABLE, version=0, raw=msgspec.json.encode(body)),
    )
