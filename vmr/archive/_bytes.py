"""Pieces of an archive's file, their SHA-256, and the seal over all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

CHUNK: Final = 1024 * 1024
SEAL_SIZE: Final = 84
SEAL: Final = b"vmr-archive sha256="


class Place(msgspec.Struct, frozen=True):
    """Where a member's content lies in the file."""

    offset: int
    size: int


def seal_text(digest: str) -> bytes:
    """Return the comment of a file whose bytes before it have this SHA-256."""
    text = SEAL + digest.encode()
    return text + b"\n" * (SEAL_SIZE - len(text))


def digest_of(file: BinaryIO, place: Place) -> str:
    """Return the SHA-256 of these bytes of ``file``."""
    digest = hashlib.sha256()
    for chunk in read(file, place):
        digest.update(chunk)
    return digest.hexdigest()


def read(file: BinaryIO, place: Place) -> Iterator[bytes]:
    """Yield these bytes of ``file``, as far as it has them, a piece at a time."""
    file.seek(place.offset)
    left = place.size
    while left and (chunk := file.read(min(left, CHUNK))):
        left -= len(chunk)
        yield chunk
