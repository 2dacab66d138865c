"""Between a `ScheduleEntry`, which may do several things, and typed entries (`vmr.schedule.Entry`), which do one each.

The parts of one entry have its identity: the first as it is, the others with ``+1``, ``+2``… after it, so that they are found
together again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

from vmr.errors import InvalidInputError
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, StartTime, Transfer, check_entry, default_id

WhenLost: TypeAlias = Literal["continue", "again", "fail"]
_LARGEST_TIME: Final = 1e9
_OF_EVERY_PART: Final = ("ignore_failure", "on_host", "when_lost", "overwrite")
_OF_PROGRAMS: Final = ("timeout", "retries", "nonzero_fails")


class MutableEntry(Protocol):
    """The attributes of a `vmr.schedule_entry.ScheduleEntry`."""

    start_time: float
    ignore_failure: bool
    executable: str | None
    arguments: str | None
    data: list[dict[str, Any]]
    pause: bool | float
    on_host: bool
    timeout: float | None
    retries: int
    when_lost: WhenLost
    nonzero_fails: bool
    overwrite: bool
    entry_id: str | None


class _Datum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    location: str | None = None
    content: str | None = None
    filename: str | None = None
    object: ObjectRef | None = None
    executable: bool = False
    interval: float | None = None
    destination: str | None = None
    resume: bool = False

    @property
    def is_file(self) -> bool:
        return self.content is not None or self.filename is not None or self.object is not None


def resolve_contents(entry: MutableEntry) -> None:
    """Replace every function that stands for a content by what it returns; raise `InvalidInputError` when that is no text."""
    for datum in filter(_is_dictionary, entry.data):
        content = datum.get("content")
        if callable(content):
            made = content()
            if not isinstance(made, str):
                raise InvalidInputError(
                    f"content of {datum.get('location')!r}: its function returned {type(made).__name__}, not a string"
                )
            datum["content"] = made


def _is_dictionary(datum: object) -> bool:
    # Callers fill the list by hand; what else is in it is refused with a word on where.
    return isinstance(datum, dict)


def to_parts(entry: MutableEntry) -> tuple[Entry, ...]:
    """Return the typed entries that do what ``entry`` does; where it has no identity they get one that follows from what it says."""
    place = f"schedule entry at {entry.start_time}"
    try:
        data = msgspec.convert(entry.data, list[_Datum])
        nameless = _split(entry, data)
        identity = entry.entry_id or identity_of(nameless)
        parts = with_identity(nameless, identity)
        for part in parts:
            check_entry(part)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"{place}: data: {error}") from error
    return parts


def _split(entry: MutableEntry, data: list[_Datum]) -> tuple[Entry, ...]:
    """Return what ``entry`` does in the order in which it is done: run, copy out, hold, resume."""
    time = _start_time(entry.start_time)
    files = tuple(_file(datum) for datum in data if datum.is_file)
    parts = [Entry("", time, transfer=_transfer(datum)) for datum in data if not datum.is_file and not datum.resume]
    if entry.executable is not None or files:
        program = Entry("", time, executable=entry.executable, arguments=entry.arguments or "", files=files)
        parts.insert(0, program)
    if entry.pause is not False:
        parts.append(Entry("", time, pause=_pause(entry.pause)))
    if any(datum.resume for datum in data):
        parts.append(Entry("", time, resume=True))
    return tuple(_with_rules(part, entry) for part in parts or [Entry("", time)])


def _with_rules(part: Entry, entry: MutableEntry) -> Entry:
    names = _OF_EVERY_PART + (_OF_PROGRAMS if part.executable is not None else ())
    rules = {name: getattr(entry, name) for name in names}
    plain = msgspec.structs.asdict(part) | rules
    return msgspec.convert(plain, Entry, from_attributes=True)


def _start_time(given: object) -> StartTime:
    time = checked_time(given)
    return "-inf" if time == -math.inf else time


def checked_time(start_time: object) -> float:
    """Return ``start_time`` (seconds) as a plain number; raise `InvalidInputError` when it is none, or none that can come."""
    if isinstance(start_time, bool) or not isinstance(start_time, (int, float)):
        raise InvalidInputError(f"start time {start_time!r}: use a number of seconds")
    if start_time != -math.inf and not abs(start_time) <= _LARGEST_TIME:
        raise InvalidInputError(f"start time {start_time!r}: use seconds between -1e9 and 1e9")
    return int(start_time) if isinstance(start_time, int) else float(start_time)


def _file(datum: _Datum) -> EntryFile:
    return EntryFile(
        datum.location or "",
        content=datum.content,
        object=datum.object,
        resource=datum.filename,
        executable=datum.executable,
    )


def _transfer(datum: _Datum) -> Transfer:
    if not datum.location:
        raise InvalidInputError("data without location, content and filename; say what it is")
    if datum.interval is not None and not 0 < datum.interval < math.inf:
        raise InvalidInputError(f"transfer of {datum.location!r}: the interval {datum.interval} is not above 0")
    return Transfer(datum.location, interval=datum.interval, destination=datum.destination)


def _pause(given: object) -> Pause:
    duration = checked_pause(given)
    return Pause(None if duration == math.inf else duration)


def checked_pause(duration: object) -> float:
    """Return the length of a pause in seconds, ``math.inf`` for a break; raise `InvalidInputError` when it is not positive."""
    if isinstance(duration, bool) or not isinstance(duration, (int, float)) or not duration > 0:
        raise InvalidInputError(f"pause of {duration!r}: use seconds above 0, or math.inf for a break")
    return float(duration)


def identity_of(parts: Sequence[Entry]) -> str:
    """Return an identity for an entry with these parts: its time, its name, and a mark of what it says.

    The same entry gets the same identity whenever its schedule is built anew; one that says something else gets another.
    """
    try:
        said = msgspec.json.encode([msgspec.structs.replace(part, id="") for part in parts])
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"schedule entry at {parts[0].start_time}: not valid Unicode: {error}") from error
    return default_id(parts[0].start_time, f"{parts[0].name}~{hashlib.sha256(said).hexdigest()[:8]}", set())


def with_identity(parts: Sequence[Entry], identity: str) -> tuple[Entry, ...]:
    """Return the parts of the entry that is called ``identity``."""
    ids = (identity, *(f"{identity}+{number}" for number in range(1, len(parts))))
    return tuple(msgspec.structs.replace(part, id=each) for part, each in zip(parts, ids, strict=True))


def from_parts(entry: MutableEntry, parts: Sequence[Entry]) -> None:
    """Make ``entry`` say what ``parts`` say."""
    first = parts[0]
    entry.start_time = first.time if first.start_time == "-inf" else first.start_time
    for rule in _OF_EVERY_PART + _OF_PROGRAMS:
        setattr(entry, rule, getattr(first, rule))
    entry.entry_id = first.id
    entry.data = []
    for part in parts:
        if part.executable is not None:
            entry.executable, entry.arguments = part.executable, part.arguments or None
        entry.data += map(_datum, part.files)
        if part.transfer is not None:
            entry.data.append({"location": part.transfer.location} | _transfer_details(part.transfer))
        if part.pause is not None:
            entry.pause = math.inf if part.pause.duration is None else part.pause.duration
        if part.resume:
            entry.data.append({"resume": True})


def _datum(file: EntryFile) -> dict[str, Any]:
    datum: dict[str, Any] = {"location": file.location}
    if file.content is not None:
        datum["content"] = file.content
    elif file.resource is not None:
        datum["filename"] = file.resource
    elif file.object is not None:
        datum["object"] = {"sha256": file.object.sha256, "size": file.object.size}
    return datum | {"executable": True} if file.executable else datum


def _transfer_details(transfer: Transfer) -> dict[str, Any]:
    return {"interval": transfer.interval, "destination": transfer.destination}


def groups_of(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return ``entries`` with the parts of one entry together."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if groups and entry.id == f"{groups[-1][0].id}+{len(groups[-1])}":
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups
