"""Schedules as data: what one VM has to run, when, and with which files.

These types travel inside ``schedule.published`` events. They hold rules about single entries only; what is due when is the
planner's (`vmr.planner`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec

from vmr.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
StartTime: TypeAlias = int | float | Literal["-inf"]
"""Seconds relative to the experiment's start; negative values order the configuration; ``"-inf"`` is before everything."""


class ObjectRef(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A blob in the object store, named by its content.

    Attributes:
        sha256: SHA-256 of the content, lower-case hexadecimal.
        size: length in bytes.

    """

    sha256: Sha256
    size: Annotated[int, msgspec.Meta(ge=0)]


class EntryFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that an entry needs in its guest. Exactly one of ``content``, ``object`` and ``resource`` says what is in it.

    Attributes:
        location: path in the guest; a relative one lies in the entry's working directory.
        content: the content itself, as text (written as UTF-8).
        object: the content's place in the object store.
        resource: name of a file in the resource store, looked up when the handler loads it.
        executable: whether the file gets the executable flag.

    """

    location: str
    content: str | None = None
    object: ObjectRef | None = None
    resource: str | None = None
    executable: bool = False


class Transfer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file, folder or glob to copy out of the guest.

    Attributes:
        location: absolute path in the guest; may hold shell wildcards.
        interval: seconds between copies; None copies once.
        destination: absolute path of a folder on the handler's host; None means the run's own folder of transfers.

    """

    location: str
    interval: Annotated[float, msgspec.Meta(gt=0)] | None = None
    destination: str | None = None


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hold on what follows: for ``duration`` seconds, or until a resume when ``duration`` is None (a break)."""

    duration: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a VM's schedule.

    Attributes:
        id: identity of the entry within its VM, for ever: an entry that ran is never run again under the same id.
        start_time: when it is due (`StartTime`). Zero is not a time (the barrier lies there).
        executable: what to run: an absolute path in the guest, one of the entry's files, or a name on the guest's PATH.
        arguments: the command line after the executable, read by the guest's shell exactly as written.
        files: what must be in the guest before the entry runs.
        transfer: what to copy out of the guest.
        pause: a hold on what follows.
        resume: ends a break.
        ignore_failure: whether a file that cannot be loaded leaves the VM alive instead of failing it.
        on_host: run on the handler's host, not in the guest. There the arguments are split into words as a shell would, and no shell
            reads them.
        timeout: seconds after which an attempt's program is killed; None lets it run.
        retries: how many more attempts an entry gets whose attempt ended with a nonzero exit code or was killed by its timeout.
        when_lost: what follows when the end of an attempt cannot be known: ``continue`` with the schedule, run it ``again``, or ``fail``
            the VM.
        nonzero_fails: whether a nonzero exit code of the last attempt fails the VM.
        overwrite: whether the entry's files replace files that exist in the guest.

    """

    id: str
    start_time: StartTime
    executable: str | None = None
    arguments: str = ""
    files: tuple[EntryFile, ...] = ()
    transfer: Transfer | None = None
    pause: Pause | None = None
    resume: bool = False
    ignore_failure: bool = False
    on_host: bool = False
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    when_lost: Literal["continue", "again", "fail"] = "continue"
    nonzero_fails: bool = False
    overwrite: bool = False

    @property
    def time(self) -> float:
        """The start time as a number; ``-inf`` for ``"-inf"``."""
        return -math.inf if self.start_time == "-inf" else float(self.start_time)

    @property
    def name(self) -> str:
        """A short name for people and for the working directory: the executable's base name, or the kind of entry."""
        if self.executable is not None:
            words = self.executable.replace("\\", "/").split()
            return (words[0].rstrip("/").rsplit("/", 1)[-1] if words else "") or "entry"
        if self.transfer is not None:
            return "transfer"
        if self.pause is not None:
            return "break" if self.pause.duration is None else "pause"
        return "resume" if self.resume else "files"


def check_entry(entry: Entry) -> None:
    """Raise `InvalidInputError`, naming the entry and the mend, when ``entry`` breaks a rule that its types cannot state."""

    def wrong(what: str) -> InvalidInputError:
        return InvalidInputError(f"entry {entry.id!r} at {entry.start_time}: {what}")

    held = entry.pause is not None or entry.resume
    if entry.time == 0 and not held:
        raise wrong("time 0 is the barrier between configuration and experiment; use a negative or a positive time")
    if math.isnan(entry.time) or entry.time == math.inf:
        raise wrong("start_time must be a finite number of seconds")
    if entry.time == -math.inf and not held:
        raise wrong('"-inf" is only for pauses and resumes; use a finite negative time')
    if entry.executable is not None and not entry.executable.strip():
        raise wrong("executable is empty; name a program")
    if entry.executable is None and entry.arguments:
        raise wrong("arguments without an executable; name the program that takes them")
    if entry.executable is None and not entry.files and entry.transfer is None and not held:
        raise wrong("nothing to do; give an executable, files, a transfer, a pause or a resume")
    if entry.executable is None and (entry.timeout is not None or entry.retries or entry.nonzero_fails):
        raise wrong("timeout, retries and nonzero_fails are for programs; give an executable, or leave them out")
    if entry.pause is not None and -math.inf < entry.time < 0:
        raise wrong(
            'a pause or break is at "-inf", at 0 or at a positive time; negative times are an order and not a clock'
        )
    for file in entry.files:
        _check_file(file, entry, wrong)
    if entry.transfer is not None and not is_absolute(entry.transfer.location):
        raise wrong(f"transfer of {entry.transfer.location!r}: the path in the guest must be absolute")


def _check_file(file: EntryFile, entry: Entry, wrong: Callable[[str], InvalidInputError]) -> None:
    if not file.location:
        raise wrong("a file without a location; give its path in the guest")
    if "\0" in file.location:
        raise wrong(f"file {file.location!r}: a path cannot hold a NUL character")
    if sum(source is not None for source in (file.content, file.object, file.resource)) != 1:
        raise wrong(f"file {file.location!r}: give exactly one of content, object and resource")
    if not is_absolute(file.location) and entry.executable is None:
        raise wrong(f"file {file.location!r}: a relative location needs an executable; make it absolute")


def is_absolute(path: str) -> bool:
    r"""Return whether ``path`` is absolute in a guest: ``/…``, ``\…`` or a Windows drive such as ``C:\…``."""
    return path.startswith(("/", "\\")) or (len(path) > 2 and path[0].isalpha() and path[1] == ":" and path[2] in "/\\")


def format_time(start_time: StartTime) -> str:
    """Return ``start_time`` as it appears in paths and in a VM's time: whole numbers without a decimal point."""
    if isinstance(start_time, str):
        return start_time
    return str(int(start_time)) if start_time == int(start_time) else repr(float(start_time))


def default_id(start_time: StartTime, name: str, taken: set[str]) -> str:
    """Return ``<time>/<name>``, with ``_1``, ``_2``… when it is ``taken`` (FIREWHEEL's rule for clashing folders), and take it."""
    base = f"{format_time(start_time)}/{name}"
    identity, number = base, 0
    while identity in taken:
        number += 1
        identity = f"{base}_{number}"
    taken.add(identity)
    return identity
