"""Where opened archives lie: in the user's cache folder, each once, however many processes ask for it.

An archive's folder there is named by the archive's digest. It holds the archive's Parquet files and one read model for each set of
projections that it was folded by. Whoever uses it holds a shared lock, whoever makes it or throws it away an exclusive one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
import platformdirs
import structlog

from vmr.errors import VmrError
from vmr.installed import hash_of
from vmr.opened.build import FILLED, Tell, build, fill
from vmr.projections import load_projections

if TYPE_CHECKING:
    from vmr.archive import Archive

_MOST_BYTES: Final = 20 << 30
_MOST_ARCHIVES: Final = 16
_FORM: Final = "1"
"""Another text, when what is kept changes its form."""

log = structlog.get_logger(__name__)


class Opened(msgspec.Struct, frozen=True):
    """An archive that is open.

    Attributes:
        record: its read model.
        events: its Parquet files, with the messages as they were.
        filled: a Parquet file with the events whose message is not their whole body, see `vmr.opened.build.fill`.
        database: name of the database that the archive was taken from.

    """

    record: Path
    events: tuple[Path, ...]
    filled: tuple[Path, ...]
    database: str

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the read model refers to."""
        return self.events + self.filled


@contextlib.contextmanager
def opened(path: Path, *, cache: bool = True, folded: bool = True, tell: Tell | None = None) -> Iterator[Opened]:
    """Open the archive at ``path``: yield its read model, which is there until the block ends.

    Without ``folded`` the archive is only unpacked, for who does not need its tables. With ``cache`` it is made once, in the user's cache folder, and found there the next time; without, or when that folder cannot be
    written, in a temporary one. Raises `DataError` when it is no archive or is damaged.
    """
    from vmr.archive import open_archive  # noqa: PLC0415 - archives may hold read models of this module in turn

    with open_archive(path) as archive, _place(digest_of(archive) if cache else None) as folder:
        yield _in(folder, archive, folded, tell)


def cache_folder() -> Path:
    """Return the folder of opened archives."""
    return platformdirs.user_cache_path("vmr") / "opened"


def digest_of(archive: Archive) -> str:
    """Return a name for what ``archive`` holds: equal for equal content, wherever the file lies."""
    manifest = msgspec.json.encode(archive.manifest, order="sorted")
    return hashlib.sha256(_FORM.encode() + manifest).hexdigest()


def _folded_by() -> str:
    """Return a name for the SQL of today, which an opened archive was folded by."""
    texts = [hash_of(projection) for projection in load_projections()]
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:32]


def _in(folder: Path, archive: Archive, folded: bool, tell: Tell | None) -> Opened:  # noqa: FBT001 - private
    """Return what is opened in ``folder``; make what is missing of it."""
    database = str(archive.manifest.database)
    events, record = folder / "events", folder / f"{_folded_by()}.duckdb"
    with _locked(folder / "lock", fcntl.LOCK_EX):
        if not events.is_dir():
            _extract(archive, events, tell)
        files, filled = _parts(events)
        if folded and not record.is_file():
            _make(record, files, filled, tell)
    os.utime(folder)
    return Opened(record, files, filled, database)


def _parts(events: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    files = sorted(events.rglob("*.parquet"), key=_first)
    return tuple(file for file in files if file.name != FILLED), tuple(file for file in files if file.name == FILLED)


def _first(file: Path) -> tuple[int, str]:
    """Return what orders the files: an archive's are named by the sequences of their first and last event."""
    first = file.stem.partition("-")[0]
    return (int(first) if first.isdecimal() else 0, file.name)


def _extract(archive: Archive, events: Path, tell: Tell | None) -> None:
    part = events.with_name("events.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        told = None if tell is None else partial(tell, "unpacking")
        fill(archive.extract_events(part, tell=told), archive, part)
        part.rename(events)
    except OSError as error:
        raise VmrError(f"{events.parent}: the archive cannot be unpacked there: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _make(record: Path, files: tuple[Path, ...], filled: tuple[Path, ...], tell: Tell | None) -> None:
    part = record.with_name(f"{record.name}.part")
    _remove(part)
    try:
        build(part, files, filled, tell=tell)
        part.replace(record)
    finally:
        _remove(part)


def _remove(part: Path) -> None:
    for file in (part, part.with_name(f"{part.name}.wal")):
        file.unlink(missing_ok=True)
    shutil.rmtree(part.with_name(f"{part.name}.spill"), ignore_errors=True)


@contextlib.contextmanager
def _place(digest: str | None) -> Iterator[Path]:
    """Yield the folder for the archive of this digest, kept from being thrown away meanwhile; a temporary one for None."""
    if digest is not None:
        try:
            folder = cache_folder() / digest
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            users = (folder.parent / f"{digest}.users").open("w")
        except OSError as error:
            log.info("the cache cannot be written; the archive is opened for this once", reason=error.strerror)
        else:
            with users, _flocked(users, fcntl.LOCK_SH):
                folder.mkdir(exist_ok=True, mode=0o700)
                _make_room(folder)
                yield folder
            return
    with tempfile.TemporaryDirectory(prefix="vmr-opened-") as temporary:
        yield Path(temporary)


def _make_room(keep: Path) -> None:
    """Throw away the archives that were asked for the longest ago, where there are too many or they are too large; not ``keep``."""
    others = [folder for folder in keep.parent.iterdir() if folder.is_dir() and folder != keep]
    newest = sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)
    room = _MOST_BYTES
    for place, folder in enumerate(newest, 1):
        room -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if room < 0 or place >= _MOST_ARCHIVES:
            _throw_away(folder)


def _throw_away(folder: Path) -> None:
    with (folder.parent / f"{folder.name}.users").open("w") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody reads it
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("w") as file, _flocked(file, kind):
        yield


@contextlib.contextmanager
def _flocked(file: IO[Any], kind: int) -> Iterator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
