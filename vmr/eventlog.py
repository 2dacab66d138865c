"""What a handler needs of the log, as a protocol: `vmr.log.AsyncLog` is one, a test's log in memory is another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from vmr.events import KnownBody, Recorded, SchedulePublished
from vmr.schedule import Entry, ObjectRef


class Fence(msgspec.Struct, frozen=True):
    """A condition on publishing: ``sequence`` is the last on ``subject``. Who was fenced off by a later event there writes no more."""

    subject: str
    sequence: int


class Objects(Protocol):
    """Where the content of objects is."""

    async def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content, checked against its hash."""
        ...


class EventLog(Objects, Protocol):
    """The log of one database, as a handler sees it. Sequences begin at 1."""

    @property
    def db(self) -> str:
        """Name of the database."""
        ...

    async def publish(self, body: KnownBody) -> int:
        """Record one event; return its sequence once it is on disk."""
        ...

    async def publish_many(self, bodies: Iterable[KnownBody], *, fence: Fence | None = None) -> list[int]:
        """Record events in this order; return their sequences once they are on disk.

        Raises `vmr.errors.ConflictError`, and records nothing, when ``fence`` does not hold at the moment of recording.
        """
        ...

    async def publish_expecting(self, body: KnownBody, last_subject_sequence: int) -> int:
        """Record one event if that is the last sequence on its subject; raise `vmr.errors.ConflictError` otherwise."""
        ...

    async def last_sequence(self) -> int:
        """Return the sequence of the last event; 0 when there is none."""
        ...

    def read(
        self, filters: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> AsyncIterator[list[Recorded]]:
        """Yield what is recorded on subjects that match ``filters`` from ``start`` to ``stop`` (or now), in batches."""
        ...

    def follow(self, filters: Sequence[str] | None = None, start: int = 1) -> AsyncIterator[list[Recorded]]:
        """Yield what is recorded from ``start`` on, and go on as more comes."""
        ...

    async def fetch_object(self, ref: ObjectRef, path: Path) -> None:
        """Write an object's content to ``path``, checked against its hash, in constant memory."""
        ...


_entries: Final = msgspec.json.Decoder(tuple[Entry, ...])


async def with_entries(log: Objects, recorded: Recorded) -> Recorded:
    """Return the event with a schedule's entries in it, also where these were too large for the event and are an object."""
    body = recorded.event.body
    if not isinstance(body, SchedulePublished) or body.entries_object is None:
        return recorded
    entries = _entries.decode(await log.get_object(body.entries_object))
    event = msgspec.structs.replace(recorded.event, body=msgspec.structs.replace(body, entries=entries))
    return msgspec.structs.replace(recorded, event=event)


async def read_merged(log: EventLog, filters: Sequence[str], start: int, stop: int) -> list[Recorded]:
    """Return the events from ``start`` to ``stop`` that match any of ``filters``, in order.

    For history: a server reads several wildcards at once about thirty times as slowly as one after another.
    """

    async def matching(subject: str) -> list[Recorded]:
        return [recorded async for batch in log.read([subject], start, stop) for recorded in batch]

    found = await asyncio.gather(*map(matching, filters))
    return sorted((recorded for some in found for recorded in some), key=lambda recorded: recorded.sequence)
