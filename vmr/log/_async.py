"""`AsyncLog`: the log of one database, for asyncio."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vmr.errors import LogUnavailableError
from vmr.eventlog import Fence
from vmr.events import Event, KnownBody, Recorded, new_event
from vmr.log._connection import Connection
from vmr.log._events import copy_of, to_message, to_messages
from vmr.log._feed import Feed
from vmr.log._objects import ObjectStore, Progress
from vmr.log._power import power_safe
from vmr.log._publisher import Publisher
from vmr.log._stream import open_stream, stream_info
from vmr.log._verbs import Verbs
from vmr.log._wire import Address
from vmr.log._writer import Outgoing
from vmr.messages import to_recorded
from vmr.query import Answer, AsOf
from vmr.query_client import QueryProgress, ask
from vmr.schedule import Entry, ObjectRef
from vmr.settings import Settings, load_settings
from vmr.subjects import stream_name


class AsyncLog(Verbs):
    """The log of one database: publish, read, follow, store objects, ask the read model.

    Make one with `AsyncLog.connect` and use it with ``async with``, or call `close`. All methods may be called by many tasks at
    once. What is published is on the server's disk when the call returns (see `power_safe`).
    """

    def __init__(self, connection: Connection, settings: Settings, producer: str, *, safe: bool | None) -> None:
        self._connection = connection
        self._settings = settings
        self._producer = producer
        self._safe = safe
        self._stream = stream_name(settings.db)
        self._publisher = Publisher(connection, self._stream)
        self._objects = ObjectStore(connection, settings.db)

    @classmethod
    async def connect(
        cls, settings: Settings | None = None, *, producer: str | None = None, create: bool = True
    ) -> Self:
        """Return the log of ``settings.db`` (default: the settings in force).

        ``producer`` says in every event who published it (default: user, host and process). With ``create`` a missing stream is
        made. Raises `ServerNotFoundError`, `CredentialError`, `JetStreamMissingError` or `LogUnavailableError` within seconds.
        """
        settings = settings or load_settings()
        producer = producer or _who()
        connection = await Connection.open(Address.from_settings(settings), name=f"vmr {producer}")
        try:
            info = await open_stream(connection, "stream.json", settings.db, create=create)
            safe = await power_safe(connection, settings, info.config)
            return cls(connection, settings, producer, safe=safe)
        except BaseException:
            await connection.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Publish what was asked for already, then close the connection. Closing twice does nothing."""
        await self._publisher.close()
        await self._connection.close()

    @property
    def db(self) -> str:
        """Name of the database."""
        return self._settings.db

    @property
    def settings(self) -> Settings:
        """The settings that this log was opened with."""
        return self._settings

    @property
    def producer(self) -> str:
        """Who this log's events are by."""
        return self._producer

    @property
    def connection(self) -> Connection:
        """The connection to the server, for services that answer on it."""
        return self._connection

    @property
    def power_safe(self) -> bool | None:
        """Whether the server syncs every event to disk before it acknowledges it; None when it does not say."""
        return self._safe

    @property
    def last_published(self) -> int:
        """The highest sequence that this log has published; 0 before the first."""
        return self._publisher.last_sequence

    async def publish(self, body: KnownBody, *, time: datetime | None = None) -> int:
        """Record ``body`` (at ``time``, aware; default now) and return its sequence once it is on disk.

        Concurrent calls share one durable write, in the order of the calls. Raises `EventTooLargeError` before anything is
        sent, and `PublishError` when the server did not acknowledge it within its bounds.
        """
        return (await self._publish([to_message(self.db, new_event(body, producer=self._producer, time=time))]))[0]

    async def publish_many(self, bodies: Iterable[KnownBody], *, fence: Fence | None = None) -> list[int]:
        """Record ``bodies`` in this order and return their sequences once they are on disk.

        Up to 1,000 of them (and 4 MB) are recorded all or none; more are recorded in such pieces, one after another.
        Raises `ConflictError`, and records nothing, when ``fence`` does not hold at the moment of recording.
        """
        return await self._publish(to_messages(self.db, self._producer, bodies, fence=fence))

    async def publish_events(self, events: Iterable[Event]) -> list[int]:
        """Record whole events, with the ids, times and producers they have. An id that is there already is not stored again."""
        return await self._publish([to_message(self.db, event) for event in events])

    async def publish_recorded(self, records: Iterable[Recorded]) -> list[int]:
        """Record, byte for byte and in this order, what another log held, with the times at which it was stored there.

        The subjects become this database's, and sequences go on from the last here. Sent again, it is not stored again; an id that came twice in the other log is stored twice here.
        """
        return await self._publish([copy_of(self.db, record) for record in records])

    async def publish_copies(self, messages: Sequence[Outgoing]) -> list[int]:
        """Record messages of another log as they are, all or none where they are at most 1,000 (and 4 MB)."""
        return await self._publish(messages)

    async def publish_expecting(self, body: KnownBody, last_subject_sequence: int) -> int:
        """Record ``body`` if ``last_subject_sequence`` is the last sequence on its subject (0: none); return its sequence.

        Raises `ConflictError` when somebody else wrote there first.
        """
        event = new_event(body, producer=self._producer)
        return (await self._publish([to_message(self.db, event, expected=last_subject_sequence)]))[0]

    async def _publish(self, messages: Sequence[Outgoing]) -> list[int]:
        for message in messages:
            self._publisher.check(message)
        return await self._publisher.publish(messages)

    async def last_sequence(self) -> int:
        """Return the sequence of the last event in the log; 0 when there is none."""
        info = await stream_info(self._connection, self._stream)
        if info is None:
            raise LogUnavailableError(f"stream {self._stream} is gone from the server")
        return info.state.last_seq

    async def beginning(self) -> tuple[int, int]:
        """Return the sequence of the first event that the log holds, or will, and the number of the run that it is of."""
        info = await stream_info(self._connection, self._stream)
        if info is None:
            raise LogUnavailableError(f"stream {self._stream} is gone from the server")
        return info.state.first_seq or 1, info.first_run

    async def read(
        self, filters: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> AsyncGenerator[list[Recorded], None]:
        """Yield what is recorded from sequence ``start`` to ``stop`` (default: the last one now), in order, in batches.

        ``filters`` are subjects (see `vmr.events.subject_of` and ``streams/subjects.md``), wildcards allowed, thousands if need be.
        """
        end = await self.last_sequence() if stop is None else stop
        if start <= end:
            feed = Feed(self._connection, self._stream, filters, start)
            async with aclosing(feed.batches(stop=end)) as batches:
                async for batch in batches:
                    yield [to_recorded(raw) for raw in batch]

    async def follow(
        self, filters: Sequence[str] | None = None, start: int = 1
    ) -> AsyncGenerator[list[Recorded], None]:
        """Yield what is recorded from sequence ``start`` on, and go on as more comes, for ever.

        Order is kept and nothing is left out or repeated, also over restarts of the server. Raises `DataError` when the server
        lost what was read from it before.
        """
        feed = Feed(self._connection, self._stream, filters, start)
        async with aclosing(feed.batches()) as batches:
            async for batch in batches:
                yield [to_recorded(raw) for raw in batch]

    async def put_object(self, content: bytes | Path, *, progress: Progress | None = None) -> ObjectRef:
        """Store ``content`` (bytes, or a file in constant memory) under its SHA-256; storing it again costs one look.

        ``progress`` is called, on this loop, with the bytes that are sent and all bytes.
        """
        return await self._objects.put(content, progress)

    async def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content; raise `DataError` when it is missing or does not match its hash."""
        return await self._objects.get(ref)

    async def fetch_object(self, ref: ObjectRef, path: Path, *, progress: Progress | None = None) -> None:
        """Write an object's content to ``path`` in constant memory; ``path`` appears only when the content matches its hash.

        ``progress`` is called, on this loop, with the bytes that are written and all bytes.
        """
        await self._objects.fetch(ref, path, progress)

    async def append_entries(self, server_name: str, entries: Iterable[Entry]) -> int:
        """Add ``entries`` to the schedule of the VM of this name, whoever else does so meanwhile; return the event's sequence.

        They are new entries: one whose id is taken gets ``_1``, ``_2``… behind it. Raises `InvalidInputError` when an entry makes no
        sense or the schedule is not of vmr's encoding, and `ConflictError` when others were faster for 30 s.
        """
        from vmr.schedule_store import ScheduleStore  # noqa: PLC0415 - it is written over this class

        return await ScheduleStore(self).append(server_name, list(entries))

    async def query(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        after: int | None = None,
        timeout: float = 10.0,
        as_of: AsOf | None = None,
        progress: QueryProgress | None = None,
    ) -> Answer:
        """Ask the read model; the answer reflects at least sequence ``after`` (default: this log's own last one).

        With ``as_of`` (a sequence, a time, or a text such as ``start+30s``) it is the answer of that moment. ``progress`` is told, on
        this loop, how far a long answer is: from 0 to 1, or None where that cannot be said. Cancelled, it is given up by the service too;
        a service that dies over it is replaced by another one that is there.
        Raises `ProjectorMissingError` when nobody answers, `ProjectorBehindError` when ``timeout`` (seconds) is over before the read model
        has come so far, and `QueryError` when the query is refused.
        """
        after = self.last_published or None if after is None else after
        return await ask(
            self._connection.client,
            self.db,
            name,
            params,
            after=after,
            timeout=timeout,
            as_of=as_of,
            progress=progress,
        )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have a number and no name.
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{os.getpid()}"
