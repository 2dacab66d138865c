"""Finding an archive's members without the ZIP's directory: from one member's header to the next."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final

from vmr.archive._bytes import CHUNK, Place
from vmr.archive._manifest import NAME, README

LOCAL: Final = struct.Struct("<4s5H3L2H")
"""The header that stands before each member of a ZIP file."""
LOCAL_MARK: Final = b"PK\x03\x04"
MOST_MEMBERS: Final = 1_000_000
_DIRECTORY_MARK: Final = b"PK\x01\x02"
_LONGEST_NAME: Final = 120
_LARGE: Final = 0xFFFFFFFF


def looks_like_one(file: BinaryIO) -> bool:
    """Return whether the file begins as an archive does, with at most a few bits that differ."""
    file.seek(0)
    begin = file.read(LOCAL.size + len(README))
    wanted = LOCAL_MARK + b"\0" * (LOCAL.size - 4) + README.encode()
    telling = [*range(4), *range(LOCAL.size, len(wanted))]
    return len(begin) == len(wanted) and sum(begin[place] != wanted[place] for place in telling) <= 1


def walk(file: BinaryIO) -> dict[str, Place]:
    """Return where each member is whose header is where the one before ends, or can be found again behind damage."""
    size = file.seek(0, os.SEEK_END)
    members: dict[str, Place] = {}
    offset = 0
    while offset < size - LOCAL.size and len(members) < MOST_MEMBERS:
        found = _header(file, offset)
        if found is None:
            offset = _next_header(file, offset + 1)
            continue
        name, place = found
        place = Place(min(place.offset, size), place.size)
        members.setdefault(name, Place(place.offset, min(place.size, size - place.offset)))
        offset = place.offset + place.size
        if offset < size and not _begins_record(file, offset):
            # The size is not believed: the next header ends the member.
            offset = _next_header(file, place.offset)
            members[name] = Place(place.offset, min(offset, size) - place.offset)
    return members


def _header(file: BinaryIO, offset: int) -> tuple[str, Place] | None:
    """Return the name and place of the member whose header is at ``offset``; None when there is no such header."""
    file.seek(offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or not header.startswith(LOCAL_MARK):
        return None
    *_, size, _, name_length, extra_length = LOCAL.unpack(header)
    name = file.read(name_length).decode("latin-1")
    extra = file.read(extra_length)
    if NAME.fullmatch(name) is None:
        return None
    if size == _LARGE and len(extra) >= 12:
        size = int.from_bytes(extra[4:12], "little")
    return name, Place(offset + LOCAL.size + name_length + extra_length, size)


def _begins_record(file: BinaryIO, offset: int) -> bool:
    """Return whether a member's header, or the ZIP's directory, begins at ``offset``, or would if the file were not cut off there."""
    file.seek(offset)
    begin = file.read(LOCAL.size + _LONGEST_NAME)
    mark = begin[:4]
    if len(begin) < LOCAL.size + _LONGEST_NAME and mark == LOCAL_MARK[: len(mark)]:
        return True
    return mark == _DIRECTORY_MARK or _header(file, offset) is not None


def _next_header(file: BinaryIO, offset: int) -> int:
    """Return where the next header of a member begins, from ``offset`` on, or the end of the file."""
    size = file.seek(0, os.SEEK_END)
    while offset < size:
        file.seek(offset)
        chunk = file.read(CHUNK)
        place = chunk.find(LOCAL_MARK)
        while place >= 0:
            if _header(file, offset + place) is not None:
                return offset + place
            place = chunk.find(LOCAL_MARK, place + 1)
        offset += max(len(chunk) - 3, 1)
    return size
