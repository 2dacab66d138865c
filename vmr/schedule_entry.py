"""`ScheduleEntry`: one thing that a VM has to do, as code that builds schedules writes it.

The log holds schedules as immutable typed entries (`vmr.schedule.Entry`), each of which does one thing. A `ScheduleEntry` is
mutable and may do several: run a program with files, copy files out, hold what follows. `vmr.schedule_parts` turns one into the
other and back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeAlias

from vmr.errors import InvalidInputError
from vmr.schedule import Entry, format_time
from vmr.schedule_parts import (
    MutableEntry,
    WhenLost,
    checked_pause,
    checked_time,
    from_parts,
    resolve_contents,
    to_parts,
)

Content: TypeAlias = str | Callable[[], str]


class ScheduleEntry:
    """What a VM does at one time of its schedule, and what it needs for it.

    Two entries are equal when they do the same at the same time; which identity they have does not matter.

    Args:
        start_time: seconds after the experiment's start; a negative value orders the configuration before it; ``-math.inf`` is
            before everything, for pauses and resumes.
        ignore_failure: whether a file that cannot be loaded leaves the VM alive instead of failing it.

    Attributes:
        start_time: as given.
        ignore_failure: as given.
        executable: what to run, or None: an absolute path in the guest, one of the entry's files, or a name on the guest's PATH.
        arguments: the command line after the executable, read by the guest's shell exactly as written, or None.
        data: one dictionary per file to load (``location`` and ``content``, ``filename`` or ``object``; ``executable``), per
            transfer (``location``, ``interval``, ``destination``), or ``{"resume": True}``.
        pause: False, or the seconds of a pause; ``math.inf`` for a break.
        on_host: run on the handler's host, not in the guest.
        timeout: seconds after which an attempt's program is killed; None lets it run.
        retries: how many more attempts the program gets after a nonzero exit code or its timeout.
        when_lost: what follows when the end of an attempt cannot be known: ``continue``, run it ``again``, or ``fail`` the VM.
        nonzero_fails: whether a nonzero exit code of the last attempt fails the VM.
        overwrite: whether the entry's files replace files that exist in the guest.
        entry_id: identity within the VM; None until the entry is part of an encoded schedule. An entry that ran is never run again
            under its identity, and one that did not is replaced by what has its identity.

    Raises `ValueError` for a start time of 0 (the barrier between configuration and experiment; a pause may be put there by setting
    ``start_time`` afterwards) and for what is no time.

    """

    def __init__(self, start_time: float, ignore_failure: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        if start_time == 0:
            raise InvalidInputError("VM resources cannot start at time zero; use a negative or a positive time")
        self.start_time = checked_time(start_time)
        self.ignore_failure = ignore_failure
        self.executable: str | None = None
        self.arguments: str | None = None
        self.data: list[dict[str, Any]] = []
        self.pause: bool | float = False
        self.on_host = False
        self.timeout: float | None = None
        self.retries = 0
        self.when_lost: WhenLost = "continue"
        self.nonzero_fails = False
        self.overwrite = False
        self.entry_id: str | None = None

    __hash__ = None  # type: ignore[assignment] # equal by what it says, and what it says changes

    def set_executable(self, path: str, arguments: str | Iterable[str] | None = None) -> None:
        """Run the program at ``path``, with ``arguments`` (a string, or strings that are joined by spaces) instead of any before.

        Raises `RuntimeError` when ``path`` is no string and `TypeError` when the arguments are not.
        """
        if not isinstance(path, str):
            raise RuntimeError(f"the executable must be a string, such as '/bin/echo', and not {path!r}")  # noqa: TRY004 - as documented
        self.executable = path
        self.arguments = None
        if arguments is not None:
            self.append_arguments(arguments)

    def append_arguments(self, arguments: str | Iterable[str]) -> None:
        """Add to the command line, after a space: a string, or strings that are joined by spaces; nothing is quoted.

        Raises `TypeError` when it is neither.
        """
        words = [arguments] if isinstance(arguments, str) else _words(arguments)
        self.arguments = " ".join([*([self.arguments] if self.arguments else []), *words])

    def add_content(self, location: str, content: Content, executable: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        """Write ``content`` to ``location`` in the guest before the entry runs.

        A relative location lies in the entry's working directory. ``content`` is text, or a function without parameters that
        returns it; it is called once, when the schedule is encoded. ``executable`` sets the file's executable flag.
        """
        self.data.append(_file(location, "content", content, executable=executable))

    def add_file(self, location: str, filename: str, executable: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        """Write the file ``filename`` of the resource store to ``location`` in the guest before the entry runs.

        A relative location lies in the entry's working directory. ``executable`` sets the file's executable flag. The file is
        looked up when the handler loads it, so it may be uploaded later than the schedule.
        """
        self.data.append(_file(location, "filename", filename, executable=executable))

    def add_file_transfer(self, location: str, interval: float | None = 30, destination: str | None = None) -> None:
        """Copy a file or folder out of the guest, from the entry's time on, every ``interval`` seconds (None: once).

        ``location`` is an absolute path in the guest and may hold shell wildcards. ``destination`` is the absolute path of a folder
        on the handler's host, ``<destination>/<vm name>/<location>`` being the copy; None means the run's own folder of transfers.
        """
        self.data.append({"location": location, "interval": interval, "destination": destination})

    def add_pause(self, duration: float) -> None:
        """Hold what follows for ``duration`` seconds, or until a resume when it is ``math.inf`` (a break).

        What is due at the entry's own time is not held: a hold comes after it, in whatever order the entries are listed. The start
        time is left as it is. Raises `ValueError` when the duration is not positive.
        """
        self.pause = checked_pause(duration)

    def to_entries(self) -> tuple[Entry, ...]:
        """Return the typed entries that do what this one does, one thing each, in order: run, copy out, hold, resume.

        A function that stands for a content is called now, and replaced by what it returned. Raises `InvalidInputError`, saying
        what is wrong, when the entry makes no sense.
        """
        resolve_contents(self)
        return to_parts(self)

    def to_entry(self) -> Entry:
        """Return the one typed entry that does what this one does; raise `InvalidInputError` when that takes several."""
        entries = self.to_entries()
        if len(entries) > 1:
            raise InvalidInputError(f"{self}: this takes {len(entries)} typed entries; use to_entries()")
        return entries[0]

    @classmethod
    def from_entry(cls, entry: Entry) -> Self:
        """Return a `ScheduleEntry` that does what ``entry`` does and has its identity."""
        return cls.from_entries((entry,))

    @classmethod
    def from_entries(cls, entries: tuple[Entry, ...]) -> Self:
        """Return a `ScheduleEntry` that does what all of ``entries`` do; they are what `to_entries` returned."""
        made = cls(-math.inf)
        from_parts(made, entries)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScheduleEntry):
            return NotImplemented
        return self._meaning() == other._meaning()

    def _meaning(self) -> dict[str, object]:
        said = {name: getattr(self, name) for name in MutableEntry.__annotations__ if name != "entry_id"}
        said["data"] = [_without_defaults(datum) for datum in self.data]
        return said | {"arguments": self.arguments or ""}

    def __str__(self) -> str:
        """Return the entry in one readable line: when, what, with which files."""
        done = [*self._program(), *map(_describe, self.data), *self._hold()]
        time = "-inf" if self.start_time == -math.inf else format_time(self.start_time)
        flags = ", failures to load ignored" if self.ignore_failure else ""
        return f"ScheduleEntry at {time}: {'; '.join(done) or 'nothing'}{flags}"

    def _program(self) -> list[str]:
        if self.executable is None:
            return []
        place = " on the host" if self.on_host else ""
        return [f"run{place} {self.executable}{' ' + self.arguments if self.arguments else ''}"]

    def _hold(self) -> list[str]:
        if self.pause is False:
            return []
        return ["break until a resume" if self.pause == math.inf else f"pause of {self.pause:g} s"]

    def __repr__(self) -> str:
        return f"<{self} (id {self.entry_id!r})>"


def _words(arguments: object) -> list[str]:
    words = list(arguments) if isinstance(arguments, Iterable) and not isinstance(arguments, (bytes, dict)) else None
    if words is None or not all(isinstance(word, str) for word in words):
        raise TypeError(f"arguments {arguments!r}: use a string or a list of strings")
    return words


def _file(location: str, key: str, value: object, *, executable: bool) -> dict[str, Any]:
    datum = {"location": location, key: value}
    return datum | {"executable": True} if executable else datum


def _without_defaults(datum: object) -> object:
    if not isinstance(datum, dict):
        return datum
    return {key: value for key, value in datum.items() if value is not None and value is not False}


def _describe(datum: object) -> str:
    if not isinstance(datum, dict):
        return f"data {datum!r:.40}"
    if datum.get("resume"):
        return "resume"
    location = datum.get("location")
    if "filename" in datum:
        return f"file {datum['filename']!r} to {location!r}"
    if "content" in datum:
        content = datum["content"]
        return f"{f'{len(content):,} characters' if isinstance(content, str) else 'content'} to {location!r}"
    if "object" in datum:
        return f"stored object to {location!r}"
    often = "once" if datum.get("interval") is None else f"every {datum['interval']:g} s"
    return f"copy {location!r} out {often}"
