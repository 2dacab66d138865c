"""Between events and the log's messages, both ways."""

from __future__ import annotations

from collections.abc import Iterable

from vmr.errors import InvalidInputError
from vmr.eventlog import Fence
from vmr.events import Event, KnownBody, Recorded, Unknown, encode, new_event, subject_of
from vmr.log._writer import Outgoing
from vmr.subjects import ROOT, check_database


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
