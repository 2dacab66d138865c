"""An event around its body, and its JSON form, both ways."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import uuid_utils

from vmr import subjects
from vmr.errors import DataError
from vmr.events.bodies import BODY_TYPES, UPCASTERS, KnownBody, SchedulePublished


class Unknown(msgspec.Struct, frozen=True):
    """The body of an event that this code does not know: kept as it came."""

    type: str
    version: int
    raw: bytes


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    Attributes:
        id: time-ordered unique id, lower-case hexadecimal with dashes; also the message id on the wire.
        time: the producer's clock, UTC, microseconds.
        producer: who says so.
        version: schema version of the body's type.
        body: what happened.

    """

    id: str
    time: datetime
    producer: str
    version: int = 1
    body: KnownBody | Unknown

    @property
    def type(self) -> str:
        """The event's type, ``<entity>.<event>``."""
        return self.body.type if isinstance(self.body, Unknown) else self.body.type_name()


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the log holds it.

    Attributes:
        sequence: its place in the stream, from 1.
        stored: when the server stored it, in nanoseconds since the epoch (UTC).
        subject: the subject that it was published on.
        event: the event itself.
        data: the message that says it, byte for byte; empty where it was never one.

    """

    sequence: int
    stored: int
    subject: str
    event: Event
    data: bytes = b""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    time: datetime
    producer: str
    version: int = 1
    body: msgspec.Raw


class _KnownEvent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    time: datetime
    producer: str
    version: int = 1
    body: KnownBody


class _Tag(msgspec.Struct, frozen=True):
    type: str


_encoder = msgspec.json.Encoder()
_known_events = msgspec.json.Decoder(_KnownEvent)
_envelopes = msgspec.json.Decoder(_Envelope)
_bodies = {name: msgspec.json.Decoder(body) for name, body in BODY_TYPES.items()}
_tags = msgspec.json.Decoder(_Tag)
_ANY = msgspec.json.Decoder()


def new_id() -> str:
    """Return a new event id: unique, and ordered by time."""
    return str(uuid_utils.uuid7())


def new_event(body: KnownBody, *, producer: str, time: datetime | None = None, event_id: str | None = None) -> Event:
    """Return an event that says ``body``, now (or at ``time``, aware), by ``producer``."""
    return Event(
        id=event_id or new_id(),
        time=time or datetime.now(UTC),
        producer=producer,
        version=body.VERSION,
        body=body,
    )


def encode(event: Event) -> bytes:
    """Return the event's JSON form."""
    if isinstance(event.body, Unknown):
        return _encoder.encode(
            _Envelope(
                id=event.id,
                time=event.time,
                producer=event.producer,
                version=event.version,
                body=msgspec.Raw(event.body.raw),
            )
        )
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """Return the event of which ``data`` is the JSON form; raise `DataError` when it is none.

    A body of an older version is brought up to date; one of a type or version that this code does not know becomes `Unknown`.
    """
    try:
        # Nearly every event is one that this code knows: then one pass over it is enough.
        known = _known_events.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _decode_any(data)
    if known.version != known.body.VERSION:
        return _decode_any(data)
    return Event(id=known.id, time=known.time, producer=known.producer, version=known.version, body=known.body)


def _decode_any(data: bytes) -> Event:
    try:
        envelope = _envelopes.decode(data)
        name = _tags.decode(envelope.body).type
        body_type = BODY_TYPES.get(name)
        body: KnownBody | Unknown
        if body_type is None or envelope.version > body_type.VERSION:
            body = Unknown(type=name, version=envelope.version, raw=bytes(envelope.body))
        elif envelope.version == body_type.VERSION:
            body = _bodies[name].decode(envelope.body)
        else:
            body = _upcast(name, envelope.version, envelope.body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(f"not an event of vmr: {error}: {data[:120]!r}") from error
    version = envelope.version if isinstance(body, Unknown) else body.VERSION
    return Event(id=envelope.id, time=envelope.time, producer=envelope.producer, version=version, body=body)


def body_json(recorded: Recorded) -> bytes | None:
    """Return the body as the log holds it, where that has the version and the entries of ``recorded``'s; None otherwise.

    It may say more than `decode` understood: fields that a later vmr has added.
    """
    envelope = _envelopes.decode(recorded.data)
    body = recorded.event.body
    inlined = isinstance(body, SchedulePublished) and body.entries_object is not None and bool(body.entries)
    return None if inlined or envelope.version != recorded.event.version else bytes(envelope.body)


def _upcast(name: str, version: int, raw: msgspec.Raw) -> KnownBody:
    plain: dict[str, Any] = _ANY.decode(raw)
    for step in range(version, BODY_TYPES[name].VERSION):
        upcaster = UPCASTERS.get((name, step))
        if upcaster is None:
            raise DataError(f"{name} version {step}: no upcaster to version {step + 1}; this is a defect of vmr")
        plain = upcaster(plain)
    return msgspec.convert(plain, BODY_TYPES[name])


def subject_of(db: str, body: KnownBody) -> str:
    """Return the subject on which ``body`` is published in database ``db``."""
    entity, _, event = body.type_name().partition(".")
    key = None if body.KEY is None else getattr(body, body.KEY)
    return subjects.entity_subject(db, entity, key, event)
