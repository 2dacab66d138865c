"""`Log`: the log for code without an event loop: scripts, threads, notebooks.

A connection lives on an event loop of its own, in a thread of its own, so it works where a loop runs already (a notebook) and
may be used by many threads at once. It is closed by `Log.close`, by the end of a ``with`` block, when it is forgotten, or when the
interpreter exits, whichever comes first.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

from vmr.errors import LogUnavailableError
from vmr.events import AgentAddress, Event, KnownBody, Recorded, VmAdded
from vmr.log._async import AsyncLog
from vmr.log._verbs import DEFAULT_STORE, Scope
from vmr.log._writer import Outgoing
from vmr.query import Answer, AsOf
from vmr.query_client import QueryProgress
from vmr.schedule import Entry, ObjectRef
from vmr.settings import Settings

_T = TypeVar("_T")
_CLOSE_SECONDS: Final = 40.0


class _Runner:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._guard = threading.Lock()
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vmr log", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Return what ``work`` returns; an interrupt in the waiting thread cancels it."""
        future = self._submit(work)
        try:
            return future.result(timeout)
        except CancelledError:
            raise LogUnavailableError("this log was closed meanwhile: connect again") from None
        except BaseException:
            future.cancel()
            raise

    def _submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        # In a forked child the guard may be held for ever by a thread that does not exist there.
        if os.getpid() != self.process:
            work.close()
            raise LogUnavailableError("this log was made by another process: connect again after a fork")
        with self._guard:
            if self._stopped:
                work.close()
                raise LogUnavailableError("this log is closed: connect again")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def is_current(self) -> bool:
        """Return whether the caller is on the loop's own thread."""
        return threading.current_thread() is self._thread

    def abandon(self) -> None:
        """Forget the loop in a forked child, where neither the thread nor the connection is ours."""
        self._loop.set_exception_handler(lambda _loop, _context: None)

    def stop(self) -> None:
        """Cancel what other threads still wait for, then stop the loop and its thread."""
        with self._guard:
            self._stopped = True
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    loop.call_soon(loop.stop)


def _shut(runner: _Runner, log: AsyncLog) -> None:
    if os.getpid() != runner.process:
        runner.abandon()
        return
    if runner.is_current():
        # The garbage collector came by on the loop's own thread, which cannot wait for itself.
        threading.Thread(target=_shut, args=(runner, log), name="vmr log closes").start()
        return
    try:
        runner.run(log.close(), _CLOSE_SECONDS)
    finally:
        runner.stop()


class Log:
    """The log of one database, synchronous; the methods are those of `AsyncLog`."""

    def __init__(self, log: AsyncLog, runner: _Runner) -> None:
        self._log = log
        self._runner = runner
        self._finalizer = weakref.finalize(self, _shut, runner, log)

    @classmethod
    def connect(cls, settings: Settings | None = None, *, producer: str | None = None, create: bool = True) -> Self:
        """Return the log of ``settings.db``; see `AsyncLog.connect`."""
        runner = _Runner()
        try:
            return cls(runner.run(AsyncLog.connect(settings, producer=producer, create=create)), runner)
        except BaseException:
            runner.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Publish what was asked for already, then close the connection. Closing twice does nothing."""
        self._finalizer()

    @property
    def db(self) -> str:
        """Name of the database."""
        return self._log.db

    @property
    def settings(self) -> Settings:
        """The settings that this log was opened with."""
        return self._log.settings

    @property
    def producer(self) -> str:
        """Who this log's events are by."""
        return self._log.producer

    @property
    def power_safe(self) -> bool | None:
        """Whether the server syncs every event to disk before it acknowledges it; None when it does not say."""
        return self._log.power_safe

    @property
    def last_published(self) -> int:
        """The highest sequence that this log has published; 0 before the first."""
        return self._log.last_published

    def run(self, work: Callable[[AsyncLog], Coroutine[Any, Any, _T]]) -> _T:
        """Return what ``work`` returns: a coroutine of yours over the same connection, on its own loop."""
        return self._runner.run(work(self._log))

    def publish(self, body: KnownBody, *, time: datetime | None = None) -> int:
        """Record ``body`` and return its sequence once it is on disk; see `AsyncLog.publish`."""
        return self._runner.run(self._log.publish(body, time=time))

    def publish_many(self, bodies: Iterable[KnownBody]) -> list[int]:
        """Record ``bodies`` in this order; see `AsyncLog.publish_many`."""
        return self._runner.run(self._log.publish_many(list(bodies)))

    def publish_events(self, events: Iterable[Event]) -> list[int]:
        """Record whole events; see `AsyncLog.publish_events`."""
        return self._runner.run(self._log.publish_events(list(events)))

    def publish_recorded(self, records: Iterable[Recorded]) -> list[int]:
        """Record what another log held; see `AsyncLog.publish_recorded`."""
        return self._runner.run(self._log.publish_recorded(list(records)))

    def publish_copies(self, messages: Sequence[Outgoing]) -> list[int]:
        """Record messages of another log as they are; see `AsyncLog.publish_copies`."""
        return self._runner.run(self._log.publish_copies(messages))

    def publish_expecting(self, body: KnownBody, last_subject_sequence: int) -> int:
        """Record ``body`` if that is the last sequence on its subject; see `AsyncLog.publish_expecting`."""
        return self._runner.run(self._log.publish_expecting(body, last_subject_sequence))

    def last_sequence(self) -> int:
        """Return the sequence of the last event in the log; 0 when there is none."""
        return self._runner.run(self._log.last_sequence())

    def beginning(self) -> tuple[int, int]:
        """Return the first sequence that the log holds, or will, and the number of its run; see `AsyncLog.beginning`."""
        return self._runner.run(self._log.beginning())

    def read(
        self, filters: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> Iterator[list[Recorded]]:
        """Yield what is recorded from sequence ``start`` to ``stop`` (default: now), in batches; see `AsyncLog.read`."""
        return self._iterate(self._log.read(filters, start, stop))

    def follow(self, filters: Sequence[str] | None = None, start: int = 1) -> Iterator[list[Recorded]]:
        """Yield what is recorded from sequence ``start`` on, for ever; see `AsyncLog.follow`."""
        return self._iterate(self._log.follow(filters, start))

    def _iterate(self, batches: AsyncIterator[_T]) -> Iterator[_T]:
        try:
            while (batch := self._runner.run(_next(batches))) is not None:
                yield batch
        finally:
            with suppress(LogUnavailableError):
                self._runner.run(_end(batches))

    def put_object(self, content: bytes | Path) -> ObjectRef:
        """Store ``content`` under its SHA-256; see `AsyncLog.put_object`."""
        return self._runner.run(self._log.put_object(content))

    def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content, checked against its hash."""
        return self._runner.run(self._log.get_object(ref))

    def fetch_object(self, ref: ObjectRef, path: Path) -> None:
        """Write an object's content to ``path``; see `AsyncLog.fetch_object`."""
        self._runner.run(self._log.fetch_object(ref, path))

    def query(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        after: int | None = None,
        timeout: float = 10.0,
        as_of: AsOf | None = None,
        progress: QueryProgress | None = None,
    ) -> Answer:
        """Ask the read model; the answer reflects at least this log's own last event. See `AsyncLog.query`.

        ``progress`` is called in the thread of the connection.
        """
        return self._runner.run(
            self._log.query(name, params, after=after, timeout=timeout, as_of=as_of, progress=progress)
        )

    def add_vm(
        self,
        server_uuid: str,
        server_name: str,
        *,
        control_ip: str = "",
        state: str = "uninitialized",
        current_time: str = "",
        agent: AgentAddress | None = None,
    ) -> int:
        """Record that a VM is known; return the event's sequence."""
        return self._runner.run(
            self._log.add_vm(
                server_uuid, server_name, control_ip=control_ip, state=state, current_time=current_time, agent=agent
            )
        )

    def add_vms(self, vms: Iterable[VmAdded]) -> list[int]:
        """Record many VMs at once; return the events' sequences."""
        return self.publish_many(vms)

    def remove_vm(self, server_uuid: str) -> int:
        """Record that a VM is no longer part of the experiment."""
        return self._runner.run(self._log.remove_vm(server_uuid))

    def set_vm_state(self, server_uuid: str, state: str, *, reason: str = "") -> int:
        """Record a VM's state."""
        return self._runner.run(self._log.set_vm_state(server_uuid, state, reason=reason))

    def set_vm_time(self, server_uuid: str, current_time: str) -> int:
        """Record the time of its schedule that a VM has reached."""
        return self._runner.run(self._log.set_vm_time(server_uuid, current_time))

    def waive_vm(self, server_uuid: str, reason: str = "") -> int:
        """Take a VM out of what the experiment waits for, until it is added anew."""
        return self._runner.run(self._log.waive_vm(server_uuid, reason))

    def pause_vm(self, server_uuid: str, duration: float | None = None) -> int:
        """Hold one VM's schedule for ``duration`` seconds, or until `resume_vm`."""
        return self._runner.run(self._log.pause_vm(server_uuid, duration))

    def resume_vm(self, server_uuid: str) -> int:
        """End a break or pause of one VM's schedule."""
        return self._runner.run(self._log.resume_vm(server_uuid))

    def append_entries(self, server_name: str, entries: Iterable[Entry]) -> int:
        """Add entries to a VM's schedule, losing nobody else's; see `AsyncLog.append_entries`."""
        return self._runner.run(self._log.append_entries(server_name, list(entries)))

    def put_schedule(self, server_name: str, entries: Iterable[Entry], *, ip: str | None = None) -> int:
        """Record the schedule of the VM of this name; see `AsyncLog.put_schedule`."""
        return self._runner.run(self._log.put_schedule(server_name, list(entries), ip=ip))

    def put_resource(self, path: Path | str, *, name: str | None = None, store: str = DEFAULT_STORE) -> int:
        """Store a file under ``name`` (default: its own) in a resource store; return the event's sequence."""
        return self._runner.run(self._log.put_resource(path, name=name, store=store))

    def launch(
        self,
        name: str = "",
        *,
        launch_time: datetime | None = None,
        start_buffer: float = 60.0,
        experiment: ObjectRef | None = None,
        guests: str = "",
        failed_vms: Literal["wait", "waive"] = "wait",
    ) -> int:
        """Record that the experiment is being launched; see `AsyncLog.launch`."""
        return self._runner.run(
            self._log.launch(
                name,
                launch_time=launch_time,
                start_buffer=start_buffer,
                experiment=experiment,
                guests=guests,
                failed_vms=failed_vms,
            )
        )

    def start(self, start_time: datetime | None = None) -> int:
        """Report a start time (aware, default now, whole seconds). The earliest report of a run is its start."""
        return self._runner.run(self._log.start(start_time))

    def pause(self, duration: float | None = None) -> int:
        """Hold every VM's schedule for ``duration`` seconds, or until `resume`."""
        return self._runner.run(self._log.pause(duration))

    def resume(self) -> int:
        """End a break or pause of every VM's schedule."""
        return self._runner.run(self._log.resume())

    def clear(self, scope: Sequence[Scope] = ("vms", "schedules", "times")) -> int:
        """Make what was, history: clearing all three begins the next run."""
        return self._runner.run(self._log.clear(scope))


async def _next(batches: AsyncIterator[_T]) -> _T | None:
    return await anext(batches, None)


async def _end(batches: AsyncIterator[Any]) -> None:
    close = getattr(batches, "aclose", None)
    if close is not None:
        await close()
