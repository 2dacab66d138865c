"""Writing an archive's file: members one after another, stored as they are, then the ZIP's directory and the seal."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from vmr.archive._bytes import CHUNK, SEAL_SIZE, Place, digest_of, seal_text
from vmr.archive._manifest import Member

_SMALL: Final = 2**31 - 1


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
        while chunk := file.read(CHUNK):
            yield chunk
