"""A log in memory with the semantics of the real one (`vmr.log.AsyncLog`), for tests without a server.

::

    log = MemoryLog("test")
    await Handler(log, "lab1", folder).run()

Sequences from 1, message ids by which repeats are dropped, expected sequences, all or nothing, filters with wildcards, objects. One
`MemoryLog` is one connection; `connect` makes another to the same stream. ``delay`` says how long each message is on its way, in
seconds of ``clock``: to the stream, back as an acknowledgement, and to each reader, so that what is acknowledged may be delivered
before or after. What one connection publishes is stored in the order of its calls, as the real one does it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import msgspec

from vmr.clock import Clock, SystemClock
from vmr.errors import ConflictError, DataError, EventTooLargeError, LogUnavailableError, PublishError, VmrError
from vmr.eventlog import Fence
from vmr.events import Event, KnownBody, Recorded, Unknown, decode, encode, new_event, new_id, subject_of
from vmr.log._verbs import Verbs
from vmr.schedule import ObjectRef
from vmr.subjects import check_database
from vmr.testing.subject_filters import SubjectFilters

LARGEST_EVENT: Final = (1 << 20) - 4096
"""Bytes of one event, as the server's usual limit leaves them."""

_BATCH: Final = 256


class _Message(msgspec.Struct):
    """One event on its way to the stream."""

    subject: str
    data: bytes
    event_id: str
    expected: int | None = None
    fence: Fence | None = None


class _Call(msgspec.Struct, eq=False):
    """What one caller wants stored together, and where the answer goes."""

    messages: list[_Message]
    answer: asyncio.Future[list[int]]


class _Stream:
    """What all connections share: the events and the objects."""

    def __init__(self) -> None:
        self.records: list[Recorded] = []
        self.objects: dict[str, bytes] = {}
        self._sequences: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._waiting: list[asyncio.Future[None]] = []

    def store(self, messages: Sequence[_Message], at: datetime) -> list[int]:
        """Store all messages or none; raises `ConflictError`."""
        for message in messages:
            if message.event_id not in self._sequences:
                self._expect(message.subject, message.expected)
                if message.fence is not None:
                    self._expect(message.fence.subject, message.fence.sequence)
        sequences = [self._store_one(message, at) for message in messages]
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return sequences

    def _expect(self, subject: str, expected: int | None) -> None:
        last = self._last.get(subject, 0)
        if expected is not None and expected != last:
            raise ConflictError(
                f"somebody else wrote to {subject} first (last sequence {last}): read again, then retry"
            )

    def _store_one(self, message: _Message, at: datetime) -> int:
        known = self._sequences.get(message.event_id)
        if known is not None:
            return known
        sequence = len(self.records) + 1
        stored = round(at.timestamp() * 1e6) * 1000
        event = decode(message.data)
        self.records.append(Recorded(sequence=sequence, stored=stored, subject=message.subject, event=event))
        self._sequences[message.event_id] = self._last[message.subject] = sequence
        return sequence

    async def grown(self) -> None:
        """Return when more has been stored."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class MemoryLog(Verbs):
    """One connection to a log in memory; a `vmr.eventlog.EventLog`.

    Args:
        db: name of the database.
        producer: who publishes, as every event says.
        clock: the time of events, and of delays.
        delay: returns how many seconds the next message is on its way; by default none is.
        ids: returns the id of the next event.

    """

    def __init__(
        self,
        db: str = "test",
        *,
        producer: str = "memory",
        clock: Clock | None = None,
        delay: Callable[[], float] | None = None,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._db = check_database(db)
        self.producer = producer
        self.last_published = 0
        self._clock = clock or SystemClock()
        self._delay = delay
        self._ids = ids
        self._stream = _Stream()
        self._calls: deque[_Call] = deque()
        self._under_way: list[_Call] = []
        self._pump: asyncio.Task[None] | None = None
        self._over: VmrError | None = None

    def connect(self, producer: str = "memory", *, delay: Callable[[], float] | None = None) -> MemoryLog:
        """Return another connection to the same stream."""
        other = MemoryLog(self._db, producer=producer, clock=self._clock, delay=delay or self._delay, ids=self._ids)
        other._stream = self._stream
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Publish what was asked for already, then close the connection."""
        while self._pump is not None and not self._pump.done():
            await asyncio.wait({self._pump})
        self._over = self._over or PublishError("this connection was closed; nothing was published")

    def cut(self) -> Callable[[], None]:
        """End the connection as the end of its process does: nothing goes through any more, in either direction.

        What was under way to the stream may still get there, now or much later: when the function that is returned is called.
        """
        under_way, self._under_way = self._under_way, []
        self._over = LogUnavailableError("the connection to the log was cut")
        for call in (*under_way, *self._calls):
            if not call.answer.done():
                call.answer.set_exception(self._over)
                call.answer.exception()  # the caller may be gone
        self._calls.clear()

        def arrive() -> None:
            for call in under_way:
                self._store(call)

        return arrive

    @property
    def db(self) -> str:
        """Name of the database."""
        return self._db

    @property
    def records(self) -> Sequence[Recorded]:
        """Everything that is stored, in order."""
        return self._stream.records

    async def publish(self, body: KnownBody, *, time: datetime | None = None) -> int:
        """Record one event; return its sequence. Raises as `vmr.log.AsyncLog.publish` does."""
        return (await self._publish([self._message(body, time)]))[0]

    async def publish_many(self, bodies: Iterable[KnownBody], *, fence: Fence | None = None) -> list[int]:
        """Record events in this order, all or none; return their sequences. Raises `ConflictError` where ``fence`` does not hold."""
        messages = [self._message(body) for body in bodies]
        for message in messages:
            message.fence = fence
        return await self._publish(messages)

    async def publish_events(self, events: Iterable[Event]) -> list[int]:
        """Record whole events. An id that is there already is not stored again, and answers with the sequence that it has."""
        return await self._publish([self._of_event(event) for event in events])

    async def publish_expecting(self, body: KnownBody, last_subject_sequence: int) -> int:
        """Record one event if that is the last sequence on its subject (0: none); raises `ConflictError` otherwise."""
        message = self._message(body)
        message.expected = last_subject_sequence
        return (await self._publish([message]))[0]

    async def last_sequence(self) -> int:
        """Return the sequence of the last event; 0 when there is none."""
        await self._pass()
        return len(self._stream.records)

    async def read(
        self, filters: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> AsyncGenerator[list[Recorded]]:
        """Yield what is stored on subjects that match ``filters`` from ``start`` to ``stop`` (default: the last one now)."""
        chosen = SubjectFilters(filters)
        end = await self.last_sequence() if stop is None else stop
        await self._pass()
        found = self._select(chosen, start - 1, end)
        for first in range(0, len(found), _BATCH):
            yield found[first : first + _BATCH]

    async def follow(self, filters: Sequence[str] | None = None, start: int = 1) -> AsyncGenerator[list[Recorded]]:
        """Yield what is stored from sequence ``start`` on, and go on as more comes, for ever."""
        chosen = SubjectFilters(filters)
        position = start - 1
        while True:
            end = min(len(self._stream.records), position + _BATCH)
            found = self._select(chosen, position, end)
            position = max(position, end)
            if found:
                await self._pass()
                yield found
            elif position >= len(self._stream.records):
                await self._stream.grown()

    async def put_object(self, content: bytes | Path) -> ObjectRef:
        """Store ``content`` under its SHA-256."""
        data = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
        await self._pass()
        ref = ObjectRef(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        self._stream.objects[ref.sha256] = data
        return ref

    async def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content; raises `DataError` when it is missing."""
        await self._pass()
        data = self._stream.objects.get(ref.sha256)
        if data is None:
            raise DataError(f"object {ref.sha256} is not in the log's store")
        return data

    async def fetch_object(self, ref: ObjectRef, path: Path) -> None:
        """Write an object's content to ``path``, which appears whole."""
        data = await self.get_object(ref)
        part = path.with_name(f"{path.name}.part")
        await asyncio.to_thread(part.write_bytes, data)
        part.replace(path)

    def _message(self, body: KnownBody, time: datetime | None = None) -> _Message:
        event = new_event(body, producer=self.producer, time=time or self._clock.now(), event_id=self._ids())
        return self._of_event(event)

    def _of_event(self, event: Event) -> _Message:
        assert not isinstance(event.body, Unknown)
        message = _Message(subject_of(self._db, event.body), encode(event), event.id)
        if len(message.data) > LARGEST_EVENT:
            raise EventTooLargeError(
                f"the event on {message.subject[:200]} takes {len(message.data):,} bytes and a log takes {LARGEST_EVENT:,} at "
                "most: put its large part into the object store"
            )
        return message

    async def _publish(self, messages: list[_Message]) -> list[int]:
        if self._over is not None:
            raise self._over
        if not messages:
            return []
        call = _Call(messages, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._pump_calls())
        try:
            return await call.answer
        finally:
            call.answer.cancel()

    async def _pump_calls(self) -> None:
        """Take what callers want stored to the stream, all that wait together, and the answers back."""
        while self._calls:
            calls = [call for call in self._calls if not call.answer.done()]
            self._calls.clear()
            self._under_way = calls
            if not await self._arrives():
                return
            results = [self._store(call) for call in calls]
            self._under_way = []
            if not await self._arrives():
                return
            for call, result in zip(calls, results, strict=True):
                self._tell(call, result)

    def _store(self, call: _Call) -> list[int] | ConflictError:
        try:
            return self._stream.store(call.messages, self._clock.now())
        except ConflictError as error:
            return error

    def _tell(self, call: _Call, result: list[int] | ConflictError) -> None:
        if call.answer.done():
            return
        if isinstance(result, ConflictError):
            call.answer.set_exception(result)
        else:
            self.last_published = max(self.last_published, *result)
            call.answer.set_result(result)

    async def _arrives(self) -> bool:
        """Be on the way; return whether the connection was there to the end of it."""
        if self._delay is not None:
            await self._clock.sleep(self._delay())
        return not isinstance(self._over, LogUnavailableError)

    async def _pass(self) -> None:
        if not await self._arrives():
            assert self._over is not None
            raise self._over

    def _select(self, chosen: SubjectFilters, position: int, end: int) -> list[Recorded]:
        return [each for each in self._stream.records[position:end] if chosen.match(each.subject)]
