"""The schedules in the log, by name of the VM: read as they are now, put, added to, removed.

The log itself is asked, so an answer is never older than what any finished call wrote, and no projector is needed. Which schedule
a VM has follows from three events: the last that published one, the last that removed one, the last that cleared all of them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from vmr.errors import ConflictError
from vmr.events import (
    DEFAULT_SCHEDULES,
    ExperimentCleared,
    KnownBody,
    Recorded,
    SchedulePublished,
    ScheduleRemoved,
)
from vmr.log import AsyncLog, last_events
from vmr.schedule import Entry
from vmr.schedule_codec import MAGIC, added_to, decode_entries, encode_entries, is_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.side_by_side import each
from vmr.subjects import ROOT, entity_subject

APPEND_SECONDS: Final = 30.0
_ROOM: Final = 4096
_LONGEST_WAIT: Final = 0.05


class StoredSchedule(msgspec.Struct, frozen=True):
    """The schedule of one VM.

    Attributes:
        server_name: the VM's name.
        text: what was put: an encoded schedule, or other bytes.
        ip: the VM's address as put with it, or None.
        sequence: of the event that published it.

    """

    server_name: str
    text: bytes
    ip: str | None
    sequence: int


class ClearedSchedules:
    """Where the schedules of a database were last cleared. It remembers, so that it looks at each clearing once."""

    def __init__(self) -> None:
        self._looked = 0
        self._last = 0

    async def sequence(self, log: AsyncLog, newest: Recorded | None) -> int:
        """Return the sequence of the last event that cleared the schedules, 0 for none; ``newest`` is the last clearing of any kind."""
        if newest is not None and newest.sequence > self._looked:
            async for batch in log.read([_cleared_subject(log.db)], self._looked + 1, newest.sequence):
                for recorded in batch:
                    self._see(recorded)
        return self._last

    def _see(self, recorded: Recorded) -> None:
        body = recorded.event.body
        if isinstance(body, ExperimentCleared) and "schedules" in body.scope:
            self._last = max(self._last, recorded.sequence)
        self._looked = max(self._looked, recorded.sequence)


class _State(msgspec.Struct, frozen=True):
    """How a VM's schedule stands.

    Attributes:
        published: the event that published it, None when it has none.
        last: the last sequence on that event's subject, in whatever namespace; 0 before the first.
        gone: sequence of the last event that removed it; 0 before the first.

    """

    published: Recorded | None
    last: int
    gone: int


class ScheduleStore:
    """The schedules of one namespace."""

    def __init__(self, log: AsyncLog, store: str = DEFAULT_SCHEDULES, cleared: ClearedSchedules | None = None) -> None:
        self._log = log
        self._store = store
        self._cleared = cleared or ClearedSchedules()

    async def get(self, server_name: str) -> StoredSchedule | None:
        """Return the schedule of the VM of this name, None when it has none."""
        published = (await self._state(server_name)).published
        return None if published is None else await self._stored(published)

    async def matching(self, pattern: str | None = None) -> list[StoredSchedule]:
        """Return the schedules of VMs whose names match ``pattern`` (shell wildcards; None: all), in order of the names."""
        found = await self._published(pattern)
        return await each(self._stored, [found[name] for name in sorted(found)])

    async def put(self, schedules: Iterable[tuple[str, bytes, str | None]]) -> None:
        """Publish schedules, as name, text and address; all are checked before any is.

        Raises `InvalidInputError` for a text that claims to be a schedule of vmr's encoding and is none.
        """
        listed = list(schedules)
        decoded = [(name, decode_entries(text) if is_schedule(text) else text, ip) for name, text, ip in listed]
        await self._log.publish_many(await each(self._any_body, decoded))

    async def append(self, server_name: str, entries: Sequence[ScheduleEntry | Entry]) -> int:
        """Add ``entries`` to the schedule of the VM of this name; return the sequence of the event.

        Nobody's entries are lost when others do so at the same time. Raises `ConflictError` when others were faster for 30 s.
        """
        return await _until_first(lambda: self._try_to_append(server_name, entries))

    async def _try_to_append(self, server_name: str, entries: Sequence[ScheduleEntry | Entry]) -> int:
        state = await self._state(server_name)
        earlier, ip = await self._entries(state)
        body = await self._body(server_name, added_to(earlier, entries), ip)
        sequence = await self._log.publish_expecting(body, state.last)
        # The server compares one subject only, so a removal at this very moment goes unnoticed by it.
        if earlier and state.gone < (await self._state(server_name)).gone < sequence:
            ids = {entry.id for entry in earlier}
            await _until_first(lambda: self._try_to_leave_out(server_name, ids))
        return sequence

    async def _try_to_leave_out(self, server_name: str, ids: set[str]) -> int:
        state = await self._state(server_name)
        entries, ip = await self._entries(state)
        body = await self._body(server_name, tuple(entry for entry in entries if entry.id not in ids), ip)
        return state.last if state.published is None else await self._log.publish_expecting(body, state.last)

    async def _entries(self, state: _State) -> tuple[tuple[Entry, ...], str | None]:
        if state.published is None:
            return (), None
        stored = await self._stored(state.published)
        return decode_entries(stored.text), stored.ip

    async def remove(self, server_names: Iterable[str]) -> None:
        """Remove the schedules of the VMs of these names; those that have none are left as they are."""
        names = list(server_names)
        states = await each(self._state, names)
        found = [name for name, state in zip(names, states, strict=True) if state.published is not None]
        await self._log.publish_many([ScheduleRemoved(server_name=name, store=self._store) for name in found])

    async def clear(self) -> None:
        """Remove every schedule of the namespace."""
        if self._store == DEFAULT_SCHEDULES:
            await self._log.publish(ExperimentCleared(scope=("schedules",)))
        else:
            await self.remove(await self._published(None))

    async def _body(self, server_name: str, entries: tuple[Entry, ...], ip: str | None) -> SchedulePublished:
        encoded = encode_entries(entries)[len(MAGIC) :]
        if len(encoded) + _ROOM < self._log.connection.max_payload:
            return SchedulePublished(server_name=server_name, entries=entries, ip=ip, store=self._store)
        ref = await self._log.put_object(encoded)
        return SchedulePublished(server_name=server_name, entries_object=ref, ip=ip, store=self._store)

    async def _any_body(self, schedule: tuple[str, tuple[Entry, ...] | bytes, str | None]) -> SchedulePublished:
        server_name, content, ip = schedule
        if not isinstance(content, bytes):
            return await self._body(server_name, content, ip)
        ref = await self._log.put_object(content)
        return SchedulePublished(server_name=server_name, opaque=ref, ip=ip, store=self._store)

    async def _stored(self, recorded: Recorded) -> StoredSchedule:
        body = recorded.event.body
        assert isinstance(body, SchedulePublished)
        if body.opaque is not None:
            text = await self._log.get_object(body.opaque)
        elif body.entries_object is not None:
            text = MAGIC + await self._log.get_object(body.entries_object)
        else:
            text = encode_entries(body.entries)
        return StoredSchedule(body.server_name, text, body.ip, recorded.sequence)

    async def _state(self, server_name: str) -> _State:
        subjects = [self._subject(server_name, body) for body in (SchedulePublished, ScheduleRemoved)]
        *events, cleared = await last_events(self._log, [*subjects, _cleared_subject(self._log.db)])
        last = 0 if events[0] is None else events[0].sequence
        published, removed = [await self._of_this_store(recorded) for recorded in events]
        gone = max(0 if removed is None else removed.sequence, await self._cleared_at(cleared))
        return _State(None if published is None or published.sequence < gone else published, last, gone)

    async def _of_this_store(self, newest: Recorded | None) -> Recorded | None:
        """Return the last event of this namespace on the subject of ``newest``, which is the last of any."""
        if newest is None or self._ours(newest):
            return newest
        found = None
        async for batch in self._log.read([newest.subject], 1, newest.sequence):
            found = next(filter(self._ours, reversed(batch)), found)
        return found

    def _ours(self, recorded: Recorded) -> bool:
        body = recorded.event.body
        return isinstance(body, SchedulePublished | ScheduleRemoved) and body.store == self._store

    async def _cleared_at(self, newest: Recorded | None) -> int:
        # Clearing is for the schedules that are run; a namespace of its own is not part of the experiment.
        return await self._cleared.sequence(self._log, newest) if self._store == DEFAULT_SCHEDULES else 0

    async def _published(self, pattern: str | None) -> dict[str, Recorded]:
        """Return, by name, the events that published the schedules there are."""
        last = await self._log.last_sequence()
        (newest,) = await last_events(self._log, [_cleared_subject(self._log.db)])
        first = await self._cleared_at(newest) + 1
        found: dict[str, Recorded] = {}
        if first <= last:
            async for batch in self._log.read([f"{ROOT}.{self._log.db}.schedule.*.*"], first, last):
                for recorded in filter(self._ours, batch):
                    _fold(found, recorded)
        return {name: each for name, each in found.items() if pattern is None or fnmatchcase(name, pattern)}

    def _subject(self, server_name: str, body: type[KnownBody]) -> str:
        return entity_subject(self._log.db, "schedule", server_name, body.type_name().partition(".")[2])


async def _until_first(work: Callable[[], Awaitable[int]]) -> int:
    """Return what ``work`` returns once nobody else was faster; raise the conflict when others are for 30 s."""
    until = time.monotonic() + APPEND_SECONDS
    while True:
        try:
            return await work()
        except ConflictError:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(random.uniform(0, _LONGEST_WAIT))  # noqa: S311 - it only spreads the writers


def _fold(found: dict[str, Recorded], recorded: Recorded) -> None:
    body = recorded.event.body
    if isinstance(body, SchedulePublished):
        found[body.server_name] = recorded
    elif isinstance(body, ScheduleRemoved):
        found.pop(body.server_name, None)


def _cleared_subject(db: str) -> str:
    return entity_subject(db, "experiment", None, "cleared")
