"""The folder ``FILE.part`` in which an archive is prepared, for one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from vmr.errors import InvalidInputError

ASSEMBLED: Final = "archive"
"""Name in the folder of the archive's file, while it is written."""


class Plan(msgspec.Struct, frozen=True):
    """What a working folder is for; a call with another plan does not go on with it."""

    format: int
    database: str
    run: int
    first: int
    part_events: int
    part_bytes: int


def check_target(path: Path) -> None:
    """Raise `InvalidInputError` when no new file can be made at ``path``."""
    if path.exists():
        raise InvalidInputError(f"{path} is there already; remove it, or give another name")
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path}: there is no folder {path.parent}")


@contextlib.contextmanager
def working_folder(path: Path, plan: Plan) -> Iterator[Path]:
    """Yield the folder of the work on ``path``, for this process alone; remove it where a failure makes it useless."""
    folder = path.with_name(f"{path.name}.part")
    _check_ours(folder)
    try:
        folder.mkdir(exist_ok=True)
        with _locked(folder):
            _claim(folder, path, plan)
            yield folder
    except (OSError, duckdb.IOException) as error:
        if isinstance(error, ConnectionError | TimeoutError | BlockingIOError):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInputError(f"{path}: cannot be written: {reason}") from error


def _check_ours(folder: Path) -> None:
    """Raise `InvalidInputError` for a folder that no call has made: it is not to be removed at the end."""
    if (
        folder.is_dir()
        and not (folder / "plan.json").exists()
        and {found.name for found in folder.iterdir()} - {"lock"}
    ):
        raise InvalidInputError(f"{folder} is there already, and holds no beginning of an archive: give another name")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(f"{folder}: another vmr writes this archive now") from None
        yield


def _claim(folder: Path, path: Path, plan: Plan) -> None:
    said, text = folder / "plan.json", msgspec.json.encode(plan)
    if said.exists() and said.read_bytes() != text:
        raise InvalidInputError(
            f"{folder} holds the beginning of an archive of another run: remove it, or give {path.name} another name"
        )
    said.write_bytes(text)
    for name in ("events", "objects"):
        (folder / name).mkdir(exist_ok=True)
    (folder / ASSEMBLED).unlink(missing_ok=True)
