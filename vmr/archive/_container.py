"""The file around an archive's members: a ZIP whose members are stored as they are, with a seal over all of it.

The seal is the ZIP's comment, the last bytes of the file: the SHA-256 of every byte before it. Members are found through the ZIP's
directory; where that is damaged or cut off, `salvage` finds them by walking from one member's header to the next.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from vmr.archive._manifest import ABOUT, NAME, README, Member
from vmr.errors import DamagedArchiveError, DataError, NotAnArchiveError

SEAL_SIZE: Final = 84
_SEAL: Final = b"vmr-archive sha256="
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_MARK: Final = b"PK\x03\x04"
_DIRECTORY_MARK: Final = b"PK\x01\x02"
_LONGEST_NAME: Final = 120
_CHUNK: Final = 1024 * 1024
_SMALL: Final = 2**31 - 1
_LARGE: Final = 0xFFFFFFFF
_MOST_MEMBERS: Final = 1_000_000
_MOST_IN_MEMORY: Final = 256 * 1024 * 1024


class Place(msgspec.Struct, frozen=True):
    """Where a member's content lies in the file."""

    offset: int
    size: int


def seal_text(digest: str) -> bytes:
    """Return the comment of a file whose bytes before it have this SHA-256."""
    text = _SEAL + digest.encode()
    return text + b"\n" * (SEAL_SIZE - len(text))


class ContainerWriter:
    """Writes an archive's members to a new file, and seals it."""

    def __init__(self, path: Path, moment: datetime) -> None:
        self._path = path
        self._date = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
        self._zip = zipfile.ZipFile(path, "x", zipfile.ZIP_STORED, allowZip64=True)
        self._zip.comment = seal_text("0" * 64)

    def add(self, name: str, content: bytes | Path) -> Member:
        """Add a member: these bytes, or the content of this file, in constant memory."""
        info = zipfile.ZipInfo(name, self._date)
        info.external_attr = 0o644 << 16
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        digest = hashlib.sha256()
        with self._zip.open(info, "w", force_zip64=size > _SMALL) as member:
            for chunk in _chunks(content):
                digest.update(chunk)
                member.write(chunk)
        offset = info.header_offset + len(info.FileHeader(zip64=size > _SMALL))
        return Member(name=name, size=size, sha256=digest.hexdigest(), offset=offset)

    def seal(self) -> None:
        """Write the ZIP's directory and the seal, and see everything on disk."""
        self._zip.close()
        with self._path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END) - SEAL_SIZE
            digest = digest_of(file, Place(0, end))
            file.seek(end)
            file.write(seal_text(digest))
            file.flush()
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Close the file, whatever is in it."""
        self._zip.close()


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


class Container:
    """An archive's file, open for reading.

    Attributes:
        path: of the file.
        size: of the file, in bytes.
        members: where each member is, by name, in the order of the file.

    """

    def __init__(self, path: Path, file: BinaryIO, members: Mapping[str, Place]) -> None:
        self.path = path
        self.members = members
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> bytes:
        """Return a member's content; raise `DamagedArchiveError` when it is missing, or too large for memory."""
        place = self._place(name)
        if place.size > _MOST_IN_MEMORY:
            raise DamagedArchiveError(f"{self.path}: {name} has {place.size:,} bytes, which is more than it may have")
        self._file.seek(place.offset)
        return self._file.read(place.size)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a member's content."""
        return self.digest_at(self._place(name))

    def digest_at(self, place: Place) -> str:
        """Return the SHA-256 of what lies at ``place``."""
        return digest_of(self._file, place)

    def clip(self, place: Place) -> Place:
        """Return ``place`` as far as the file goes."""
        offset = min(place.offset, self.size)
        return Place(offset, min(place.size, self.size - offset))

    def copy(self, name: str, target: Path) -> str:
        """Write a member's content to the new file ``target``, in constant memory; return its SHA-256."""
        return self.copy_at(self._place(name), target)

    def copy_at(self, place: Place, target: Path) -> str:
        """Write what lies at ``place`` to the new file ``target``; see `copy`."""
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for chunk in _read(self._file, place):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def sealed(self) -> bool:
        """Return whether every byte of the file is as it was when it was sealed."""
        if self.size < SEAL_SIZE:
            return False
        end = self.size - SEAL_SIZE
        self._file.seek(end)
        comment = self._file.read(SEAL_SIZE)
        return comment.startswith(_SEAL) and comment == seal_text(digest_of(self._file, Place(0, end)))

    def _place(self, name: str) -> Place:
        found = self.members.get(name)
        if found is None:
            raise DamagedArchiveError(f"{self.path}: {name} is missing")
        return found


def digest_of(file: BinaryIO, place: Place) -> str:
    """Return the SHA-256 of these bytes of ``file``."""
    digest = hashlib.sha256()
    for chunk in _read(file, place):
        digest.update(chunk)
    return digest.hexdigest()


def _read(file: BinaryIO, place: Place) -> Iterator[bytes]:
    file.seek(place.offset)
    left = place.size
    while left and (chunk := file.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk


def open_container(path: Path) -> Container:
    """Open the archive at ``path`` by its ZIP directory.

    Raises `NotAnArchiveError` for another file, `DamagedArchiveError` for an archive that is cut off or has an impossible directory.
    """
    file = _open(path)
    try:
        return Container(path, file, _directory(path, file))
    except BaseException:
        file.close()
        raise


def salvage(path: Path) -> Container:
    """Open what is left of the archive at ``path``: every member whose header is still where the one before says it is."""
    file = _open(path)
    try:
        return Container(path, file, _walk(file))
    except BaseException:
        file.close()
        raise


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return file


def _directory(path: Path, file: BinaryIO) -> dict[str, Place]:
    try:
        with zipfile.ZipFile(file) as found:
            listed = found.infolist()
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        OSError,
        struct.error,
        EOFError,
        OverflowError,
    ) as error:
        if _looks_like_one(file):
            raise DamagedArchiveError(
                f"{path} is cut off or damaged ({error}): `vmr archive verify` says which events are whole"
            ) from error
        raise NotAnArchiveError(f"{path} is no archive of vmr's") from error
    names = [info.filename for info in listed[:2]]
    if names != [README, ABOUT] and _looks_like_one(file):
        raise DamagedArchiveError(f"{path} has a damaged directory: `vmr archive verify` says which events are whole")
    if names != [README, ABOUT]:
        raise NotAnArchiveError(f"{path} is no archive of vmr's: it does not begin with {README} and {ABOUT}")
    if len(listed) > _MOST_MEMBERS:
        raise DamagedArchiveError(f"{path} has {len(listed):,} members, which no archive has")
    size = file.seek(0, os.SEEK_END)
    members: dict[str, Place] = {}
    for info in listed:
        if NAME.fullmatch(info.filename) is None:
            # A later format may have more members; what is not known is never looked at, whatever its name.
            continue
        if info.filename in members:
            raise DamagedArchiveError(f"{path} has two members {info.filename}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise DamagedArchiveError(f"{path}: {info.filename} is compressed or encrypted, which no archive's is")
        members[info.filename] = _content(path, file, info, size)
    return members


def _content(path: Path, file: BinaryIO, info: zipfile.ZipInfo, size: int) -> Place:
    # A damaged directory makes offsets that are before the file, too.
    file.seek(min(max(info.header_offset, 0), size))
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
        raise DamagedArchiveError(f"{path}: there is no {info.filename} where its directory says")
    *_, name, extra = _LOCAL.unpack(header)
    place = Place(max(info.header_offset, 0) + _LOCAL.size + name + extra, info.file_size)
    if place.offset + place.size > size:
        raise DamagedArchiveError(f"{path}: {info.filename} is longer than the file")
    return place


def _looks_like_one(file: BinaryIO) -> bool:
    """Return whether the file begins as an archive does, with at most a few bits that differ."""
    file.seek(0)
    begin = file.read(_LOCAL.size + len(README))
    wanted = _LOCAL_MARK + b"\0" * (_LOCAL.size - 4) + README.encode()
    telling = [*range(4), *range(_LOCAL.size, len(wanted))]
    return len(begin) == len(wanted) and sum(begin[place] != wanted[place] for place in telling) <= 1


def _walk(file: BinaryIO) -> dict[str, Place]:
    size = file.seek(0, os.SEEK_END)
    members: dict[str, Place] = {}
    offset = 0
    while offset < size - _LOCAL.size and len(members) < _MOST_MEMBERS:
        found = _header(file, offset)
        if found is None:
            offset = _next_header(file, offset + 1)
            continue
        name, place = found
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
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_MARK):
        return None
    *_, size, _, name_length, extra_length = _LOCAL.unpack(header)
    name = file.read(name_length).decode("latin-1")
    extra = file.read(extra_length)
    if NAME.fullmatch(name) is None:
        return None
    if size == _LARGE and len(extra) >= 12:
        size = int.from_bytes(extra[4:12], "little")
    return name, Place(offset + _LOCAL.size + name_length + extra_length, size)


def _begins_record(file: BinaryIO, offset: int) -> bool:
    """Return whether a member's header, or the ZIP's directory, begins at ``offset``, or would if the file were not cut off there."""
    file.seek(offset)
    begin = file.read(_LOCAL.size + _LONGEST_NAME)
    mark = begin[:4]
    if len(begin) < _LOCAL.size + _LONGEST_NAME and mark == _LOCAL_MARK[: len(mark)]:
        return True
    return mark == _DIRECTORY_MARK or _header(file, offset) is not None


def _next_header(file: BinaryIO, offset: int) -> int:
    """Return where the next header of a member begins, from ``offset`` on, or the end of the file."""
    size = file.seek(0, os.SEEK_END)
    while offset < size:
        file.seek(offset)
        chunk = file.read(_CHUNK)
        place = chunk.find(_LOCAL_MARK)
        while place >= 0:
            if _header(file, offset + place) is not None:
                return offset + place
            place = chunk.find(_LOCAL_MARK, place + 1)
        offset += max(len(chunk) - 3, 1)
    return size
