"""The hash chain over the events of an archive.

``h(0)`` is 32 zero bytes. For the i-th event, ``h(i)`` is the SHA-256 of ``h(i-1)``, the sequence (8 bytes, big-endian), the stored time
in nanoseconds (8 bytes), the length of the name (4 bytes), the name, and the message, byte for byte. The name is the subject without
its first two tokens, ``vmr.<db>.``: a record keeps its chain in a database of another name. So the head of the chain is a fingerprint
of all events, their order, their times and the bytes of each.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

BEGIN: Final = bytes(32)
"""The head of the chain before the first event."""

_pack = struct.Struct(">QQI").pack
_sha256 = hashlib.sha256


def link(head: bytes, sequence: int, stored: int, subject: str, payload: bytes) -> bytes:
    """Return the head of the chain after this event; raise `struct.error` for numbers that no event can have."""
    name = subject.split(".", 2)[-1].encode()
    return _sha256(b"".join((head, _pack(sequence, stored, len(name)), name, payload))).digest()


def check_value(head: bytes) -> int:
    """Return the value that an event's row has of the head after it: its first four bytes, as a number."""
    return int.from_bytes(head[:4], "big")
