"""Files and folders that are there whole or not at all: written beside their place first, and put into it at the end."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

from vmr.errors import InvalidInputError, VmrError

MARK: Final = "tables.json"
"""A folder that holds a file of this name is an export, and may be replaced by another."""

_WORDS: Final = re.compile(r'Could not (?:write|truncate|sync|fsync) file \\?".*?\\?": ([A-Z][^"\n]+)')
_FULL: Final = (duckdb.IOException, duckdb.FatalException, duckdb.TransactionException, duckdb.OutOfMemoryException)


@contextlib.contextmanager
def writing(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield where to write what becomes the file or folder ``path`` when the block ends well; nothing stays when it does not.

    Raises `InvalidInputError` when ``path`` is taken and not to be replaced (``force``), and when it cannot be written.
    """
    check(path, force=force)
    try:
        with _folder_beside(path.absolute()) as beside:
            part = beside / path.name
            yield part
            _sync(part)
            _replace(part, path, beside)
    except VmrError:
        raise  # some of them are also errors of the system's kind, and none is about writing
    except (OSError, *_FULL) as error:
        raise InvalidInputError(f"{path}: cannot be written: {_reason(error)}") from error


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """Yield a folder of this process's own beside ``path``; what processes that were killed have left there is removed first."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part"):
        if left.is_dir() and not left.is_symlink():
            with _held(left) as ours:
                if ours:
                    shutil.rmtree(left)
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".part") as folder,
        _held(Path(folder)),
    ):
        yield Path(folder)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold ``folder`` while the block runs, or this process lives; yield whether nobody else does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check(path: Path, *, force: bool) -> None:
    """Raise `InvalidInputError` when ``path`` cannot be written, or is taken and not to be replaced (``force``)."""
    if path.name in {"", ".."}:
        raise InvalidInputError(f"{path} is no name of a file: give the file that is to be written")
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if not os.path.lexists(path):
        return
    if not force:
        raise InvalidInputError(f"{path} is there already; give another name, or --force to replace it")
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise InvalidInputError(f"{path} is no regular file, and is not replaced; give another name")
    if path.is_dir() and any(path.iterdir()) and not (path / MARK).is_file():
        raise InvalidInputError(f"{path} is a folder that is no export, and is not replaced; give another name")


def _replace(part: Path, path: Path, beside: Path) -> None:
    """Put ``part`` into the place of ``path``: a file at once; a folder when the old one has stepped aside."""
    if path.is_dir() and not part.is_dir():
        raise InvalidInputError(f"{path}: cannot be written: a file does not replace a folder; give another name")
    if part.is_dir() and path.exists():
        path.rename(beside / "replaced")
    part.replace(path)


def _sync(part: Path) -> None:
    """See to it that what is written is on disk: a full one may say so only now."""
    for path in [part, *part.rglob("*")] if part.is_dir() else [part]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # DuckDB puts the system's own words at the end of several sentences.
    found = _WORDS.search(str(error))
    return found[1] if found else str(error).splitlines()[0]
