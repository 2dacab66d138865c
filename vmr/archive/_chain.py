"""The hash chain over the events of an archive.

``h(0)`` is 32 zero bytes. For the i-th event, ``h(i)`` is the SHA-256 of ``h(i-1)``, the sequence (8 bytes, big-endian), the stored time
in nanoseconds (8 bytes), the length of the name (4 bytes), the name, and the message, byte for byte. The name is the subject without
its first two tokens, ``vmr.<db>.``: a record keeps its chain in a database of another name. So the head of the chain is a fingerprint
of all events, their order, their times and the bytes of each.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from vmr.errors import DataError
from vmr.messages import Raw

BEGIN: Final = bytes(32)
"""The head of the chain before the first event."""

_numbers = struct.Struct(">QQ").pack
_length = struct.Struct(">I").pack
_sha256 = hashlib.sha256


def link(head: bytes, sequence: int, stored: int, subject: str, payload: bytes) -> bytes:
    """Return the head of the chain after this event; raise `struct.error` for numbers that no event can have."""
    return _sha256(b"".join((head, _numbers(sequence, stored), _name(subject), payload))).digest()


@lru_cache(maxsize=1 << 15)
def _name(subject: str) -> bytes:
    name = subject.split(".", 2)[-1].encode()
    return _length(len(name)) + name


class Chain:
    """The chain over events as they come.

    Args:
        head: its head before the first of them.
        first: sequence of the first event that will come.

    """

    def __init__(self, head: bytes, first: int) -> None:
        self._head = head
        self._next = first

    def link(self, batch: Sequence[Raw]) -> list[bytes]:
        """Return the head after each of these events, the next ones. Raises `DataError` for a gap."""
        head, heads = self._head, []
        for expected, raw in enumerate(batch, self._next):
            if raw.sequence != expected:
                raise DataError(f"the log has no event {expected}: event {raw.sequence} came instead")
            head = link(head, expected, raw.stored, raw.subject, raw.data)
            heads.append(head)
        self._head = head
        self._next += len(batch)
        return heads


def check_value(head: bytes) -> int:
    """Return the value that an event's row has of the head after it: its first four bytes, as a number."""
    return int.from_bytes(head[:4], "big")


def check_values(heads: Iterable[bytes]) -> np.ndarray[Any, Any]:
    """Return what `check_value` says of each of ``heads``."""
    return np.frombuffer(b"".join(head[:4] for head in heads), dtype=">u4").astype(np.uint32)
