"""Unpacks compressed files (``.xz``, ``.tar.gz``) in constant memory. What is in an archive is not trusted."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Final

from vmr.errors import DataError

SUFFIXES: Final = (".tar.gz", ".xz")
_PIECE: Final = 1024 * 1024


def unpacked_name(name: str) -> str | None:
    """Return what ``name`` is called when it is unpacked; None for a file that is not compressed."""
    suffix = next((each for each in SUFFIXES if name.endswith(each) and name != each), None)
    return None if suffix is None else name.removesuffix(suffix)


def unpack(source: Path, name: str, folder: Path) -> None:
    """Unpack ``source``, which is called ``name``, into the empty ``folder``.

    Raises `DataError` for a damaged file, and for an archive with a member that would lie outside of the folder, is a device, or links
    to the outside.
    """
    try:
        if name.endswith(".xz"):
            with lzma.open(source) as packed, (folder / Path(name).stem).open("wb") as file:
                shutil.copyfileobj(packed, file, _PIECE)
        else:
            with tarfile.open(source, "r:gz") as archive:
                archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise DataError(f"{name}: refused, because of a member of the archive: {error}") from error
    except (lzma.LZMAError, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{name}: cannot be unpacked: {error}; upload it again") from error
