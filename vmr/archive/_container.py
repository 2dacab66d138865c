"""An archive's file, open for reading: a ZIP whose members are stored as they are, with a seal over all of it.

The seal is the ZIP's comment, the last bytes of the file: the SHA-256 of every byte before it. Members are found through the ZIP's
directory; where that is damaged or cut off, `salvage` finds them by walking from one member's header to the next.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from vmr.archive._bytes import SEAL, SEAL_SIZE, Place, digest_of, read, seal_text
from vmr.archive._manifest import ABOUT, NAME, README
from vmr.archive._walk import LOCAL, LOCAL_MARK, MOST_MEMBERS, looks_like_one, walk
from vmr.errors import DamagedArchiveError, DataError, InvalidInputError, NotAnArchiveError

_MOST_IN_MEMORY: Final = 256 * 1024 * 1024


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
        try:
            with target.open("xb") as file:
                for chunk in read(self._file, place):
                    digest.update(chunk)
                    file.write(chunk)
        except FileExistsError:
            raise InvalidInputError(f"{target} is there already; remove it, or give another place") from None
        except OSError as error:
            target.unlink(missing_ok=True)
            raise InvalidInputError(f"{target} cannot be written: {error.strerror}") from error
        return digest.hexdigest()

    def sealed(self) -> bool:
        """Return whether every byte of the file is as it was when it was sealed."""
        if self.size < SEAL_SIZE:
            return False
        end = self.size - SEAL_SIZE
        self._file.seek(end)
        comment = self._file.read(SEAL_SIZE)
        return comment.startswith(SEAL) and comment == seal_text(digest_of(self._file, Place(0, end)))

    def _place(self, name: str) -> Place:
        found = self.members.get(name)
        if found is None:
            raise DamagedArchiveError(f"{self.path}: {name} is missing")
        return found


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
        return Container(path, file, walk(file))
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
        if looks_like_one(file):
            raise DamagedArchiveError(
                f"{path} is cut off or damaged ({error}): `vmr archive verify` says which events are whole"
            ) from error
        raise NotAnArchiveError(f"{path} is no archive of vmr's") from error
    names = [info.filename for info in listed[:2]]
    if names != [README, ABOUT] and looks_like_one(file):
        raise DamagedArchiveError(f"{path} has a damaged directory: `vmr archive verify` says which events are whole")
    if names != [README, ABOUT]:
        raise NotAnArchiveError(f"{path} is no archive of vmr's: it does not begin with {README} and {ABOUT}")
    if len(listed) > MOST_MEMBERS:
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
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or not header.startswith(LOCAL_MARK):
        raise DamagedArchiveError(f"{path}: there is no {info.filename} where its directory says")
    *_, name, extra = LOCAL.unpack(header)
    place = Place(max(info.header_offset, 0) + LOCAL.size + name + extra, info.file_size)
    if place.offset + place.size > size:
        raise DamagedArchiveError(f"{path}: {info.filename} is longer than the file")
    return place
