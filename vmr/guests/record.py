"""What a folder remembers of its guests, and the short folder their sockets are in.

The record lets another process find, stop or restart guests after the one that started them has gone. A Unix socket's path may
have 107 bytes only and runs lie deep, so sockets are in a private folder with a short path, named by the record.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from vmr.errors import DataError, GuestError, GuestSetupError
from vmr.guests.processes import ProcessId
from vmr.subjects import encode_token

_FILE = "guests.json"
_LONGEST_RUNTIME = 80  # of 107 bytes; the rest is for the names in it


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One guest to start.

    Attributes:
        name: any text; the hostname is made of its letters, digits and hyphens.
        address: address and prefix on the experiment's own network, such as ``10.0.0.2/24``; None for no network.
        memory_mb: memory in MiB (micro-VMs only), 96 or more.

    """

    name: str
    address: str | None = None
    memory_mb: int = 128


class GuestRecord(msgspec.Struct):
    """One guest as it was started: its number in the folder, its agent's socket, its process (None: never started)."""

    spec: GuestSpec
    number: int
    socket: Path
    process: ProcessId | None = None

    def files(self, folder: Path) -> Path:
        """Return the guest's own folder: its console, its disk."""
        token = encode_token(self.spec.name)
        return folder / (token if len(token) <= 100 else f"{token[:90]}-{self.number}")


class FolderRecord(msgspec.Struct):
    """All guests of one folder.

    Attributes:
        backend: which kind of guests.
        runtime: the short folder with the sockets.
        guests: every guest ever started here since the last stop.
        helper: the process that holds the experiment's network, where the backend needs one.
        linked: names of the guests that the network knows.

    """

    backend: str
    runtime: Path
    guests: list[GuestRecord] = []
    helper: ProcessId | None = None
    linked: list[str] = []

    def find(self, name: str) -> GuestRecord | None:
        """Return the record of a guest, or None."""
        return next((guest for guest in self.guests if guest.spec.name == name), None)

    def processes(self) -> list[ProcessId]:
        """Return every process on record."""
        listed = [guest.process for guest in self.guests] + [self.helper]
        return [process for process in listed if process is not None]


def load(folder: Path) -> FolderRecord | None:
    """Return the record of a folder, or None when no guests were started there since the last stop."""
    path = folder / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=FolderRecord, dec_hook=_to_path)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise DataError(
            f"{path} is not a record of guests ({error}): move it away, then stop the folder's guests"
        ) from error


def save(folder: Path, record: FolderRecord) -> None:
    """Write the record in one step: a reader sees the old one or the new one."""
    draft = folder / f"{_FILE}.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(record, enc_hook=str)))
    draft.replace(folder / _FILE)


def forget(folder: Path, record: FolderRecord | None) -> None:
    """Remove the record and the sockets."""
    if record is not None:
        shutil.rmtree(record.runtime, ignore_errors=True)
    (folder / _FILE).unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder: raise `GuestError` when another process is starting or stopping guests in it."""
    with (folder / "guests.lock").open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GuestError(f"{folder}: another process is starting or stopping these guests; wait for it") from None
        yield


def make_runtime(preferred: Path) -> Path:
    """Return a new private folder with a short path, under ``preferred`` if that is short enough, else under ``/tmp``.

    Raises `GuestSetupError` when the user's common folder there is not private: somebody else may have made it.
    """
    base = preferred if len(os.fsencode(preferred)) <= _LONGEST_RUNTIME - 30 else Path("/tmp")  # noqa: S108 - checked below
    common = base / f"vmr-{os.geteuid()}"
    common.mkdir(mode=0o700, exist_ok=True)
    found = common.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise GuestSetupError(
            f"{common} must be a folder of yours alone (mode 0700) for guests' sockets: remove it, or chmod 700"
        )
    return Path(tempfile.mkdtemp(dir=common, prefix="g"))


def _to_path(kind: type, value: object) -> Path:
    """Decode the one type of the record that JSON has not."""
    if kind is not Path or not isinstance(value, str):
        raise NotImplementedError(f"a record of guests has no {kind.__name__} like {value!r}")
    return Path(value)
