"""Messages as a stream holds them, and the events in them."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from vmr.errors import DataError
from vmr.events import Event, Recorded, Unknown, decode

_log = structlog.get_logger(__name__)
UNREADABLE: Final = "unreadable"
"""Type of the `Unknown` event that stands for a message which is no event at all."""

STORED_HEADER: Final = "Vmr-Stored"
"""Header of a message that is a copy: when the original was stored, in nanoseconds since the epoch."""
_STORED: Final = re.compile(rb"\r\nVmr-Stored:[ \t]*(\d{1,19})[ \t]*(?:\r\n|$)")
_LATEST: Final = 2**63


class Raw(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A message as the stream holds it; ``pending`` is how many there were after it when it was sent.

    ``stored`` is in nanoseconds since the epoch: of the original, where the message is a copy (see `STORED_HEADER`).
    """

    sequence: int
    stored: int
    subject: str
    data: bytes
    pending: int


def stored_time(headers: bytes | None, otherwise: int) -> int:
    """Return when the message with this block of headers was stored, ``otherwise`` where it does not say so (ns since the epoch)."""
    found = _STORED.search(headers) if headers else None
    said = otherwise if found is None else int(found[1])
    return said if said < _LATEST else otherwise


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
