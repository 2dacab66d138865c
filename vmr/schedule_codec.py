"""The encoding of schedules as bytes: a first line that names it, then the typed entries as JSON.

It is canonical: the same entries give the same bytes, on every machine, so that bytes which went through the log as entries come
back as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from vmr.errors import InvalidInputError
from vmr.schedule import Entry, check_entry
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_parts import groups_of, to_parts, with_identity

MAGIC: Final = b"vmr-schedule/1\n"
_HOW: Final = "encode it with vmr.schedule_db.encode_schedule; FIREWHEEL's pickles go through `vmr schedule import`"

_decoder = msgspec.json.Decoder(tuple[Entry, ...])


def encode_schedule(entries: Iterable[ScheduleEntry | Entry]) -> bytes:
    """Return ``entries``, the schedule of one VM, as bytes for `ScheduleDb.put`.

    An entry without an identity gets one, and keeps it: it follows from what the entry says and so is the same whenever the schedule
    is built anew. A function that stands for a content is called, once. Raises `InvalidInputError` for an entry that makes no sense.
    """
    listed = list(entries)
    groups = _typed_groups(listed)
    for entry, parts in zip(listed, groups, strict=True):
        if isinstance(entry, ScheduleEntry):
            entry.entry_id = entry.entry_id or parts[0].id
    return encode_entries([part for parts in groups for part in parts])


def decode_schedule(data: bytes) -> list[ScheduleEntry]:
    """Return the entries in ``data``; raise `InvalidInputError` when it is not what `encode_schedule` returned."""
    return schedule_of(decode_entries(data))


def schedule_of(entries: Iterable[Entry]) -> list[ScheduleEntry]:
    """Return typed ``entries`` as mutable ones."""
    schedule: list[ScheduleEntry] = []
    for group in groups_of(entries):
        whole = ScheduleEntry.from_entries(tuple(group))
        # What merely looks like the parts of one entry stays apart.
        one = len(group) == 1 or to_parts(whole) == tuple(group)
        schedule += [whole] if one else map(ScheduleEntry.from_entry, group)
    return schedule


def added_to(earlier: Sequence[Entry], entries: Iterable[ScheduleEntry | Entry]) -> tuple[Entry, ...]:
    """Return a schedule that has ``earlier`` and then ``entries``, as new ones: none has the identity of an earlier one."""
    groups = _typed_groups(list(entries), {entry.id for entry in earlier})
    return (*earlier, *(part for parts in groups for part in parts))


def _typed_groups(entries: Sequence[ScheduleEntry | Entry], earlier: Iterable[str] = ()) -> list[tuple[Entry, ...]]:
    """Return the typed parts of each entry. Who has an identity keeps it, unless somebody before has it as well."""
    taken = set(earlier)
    kept = {identity for entry in entries if (identity := _identity(entry))}
    groups = []
    for entry in entries:
        parts = _parts(entry)
        identity = parts[0].id
        if not _identity(entry) or identity in taken:
            identity = _free(identity, taken | kept)
        groups.append(with_identity(parts, identity))
        taken.update(part.id for part in groups[-1])
    return groups


def _identity(entry: ScheduleEntry | Entry) -> str:
    return entry.id if isinstance(entry, Entry) else getattr(entry, "entry_id", None) or ""


def _parts(entry: ScheduleEntry | Entry) -> tuple[Entry, ...]:
    if isinstance(entry, ScheduleEntry):
        return entry.to_entries()
    if not isinstance(entry, Entry):
        raise InvalidInputError(f"{entry!r:.200} is no ScheduleEntry")
    check_entry(entry)
    return (entry,) if entry.id else to_parts(ScheduleEntry.from_entry(entry))


def _free(identity: str, taken: set[str]) -> str:
    free, number = identity, 0
    while free in taken:
        number += 1
        free = f"{identity}_{number}"
    return free


def is_schedule(data: bytes) -> bool:
    """Return whether ``data`` claims to be a schedule in this encoding."""
    return data.startswith(MAGIC)


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Return typed ``entries`` as bytes; raise `InvalidInputError` for text that is not valid Unicode."""
    try:
        return MAGIC + msgspec.json.encode(entries)
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"a schedule with text that is not valid Unicode: {error}") from error


def decode_entries(data: bytes) -> tuple[Entry, ...]:
    """Return the typed entries in ``data``; raise `InvalidInputError` when it is not what `encode_entries` returned."""
    if not is_schedule(data):
        raise InvalidInputError(f"{data[:20]!r}… is not a schedule in vmr's encoding: {_HOW}")
    try:
        entries = _decoder.decode(data[len(MAGIC) :])
        check_entries(entries)
        again = encode_entries(entries)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInputError(f"a damaged schedule: {error}; {_HOW}") from error
    if again != data:
        raise InvalidInputError(f"a schedule that this version does not write so (another vmr's, or edited): {_HOW}")
    return entries


def check_entries(entries: Iterable[Entry]) -> None:
    """Raise `InvalidInputError` when an entry makes no sense, has no id, or has another's."""
    seen: set[str] = set()
    for entry in entries:
        check_entry(entry)
        if not entry.id or entry.id in seen:
            raise InvalidInputError(f"entry {entry.id!r} at {entry.start_time}: give every entry an id of its own")
        seen.add(entry.id)
