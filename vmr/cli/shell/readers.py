"""Whom the shell and the commands ask: the services, or a read model's file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from vmr.errors import QueryError
from vmr.log import AsyncLog
from vmr.loop_thread import LoopThread
from vmr.query import Answer, AsOf
from vmr.settings import Settings


class Reader(Protocol):
    """Answers one question at a time, in the thread that asks; `vmr.offline.OfflineReader` is one, `ServiceReader` another."""

    def ask(self, name: str, params: Mapping[str, Any], *, timeout: float = 60.0, as_of: AsOf | None = None) -> Answer:
        """Return the answer of the question ``name`` (``sql``: of the statement in ``params``), within ``timeout`` seconds."""
        ...

    def interrupt(self) -> None:
        """Make the question that another thread waits for end with `QueryError`; may have to be said again."""
        ...

    def progress(self) -> float | None:
        """Return how far the answer is that another thread waits for, from 0 to 1, or None where that cannot be said."""
        ...


class ServiceReader:
    """Asks the services of a database; each answer reflects everything that is in the log when it is asked for."""

    def __init__(self, log: AsyncLog, thread: LoopThread) -> None:
        """Ask on ``log``, which lives on the loop of ``thread``."""
        self._log = log
        self._thread = thread
        self._task: asyncio.Task[Any] | None = None
        self._fraction: float | None = None

    def ask(self, name: str, params: Mapping[str, Any], *, timeout: float = 60.0, as_of: AsOf | None = None) -> Answer:
        """Return the answer; see `vmr.log.AsyncLog.query` for what it raises."""
        return self._thread.run(self._ask(name, params, timeout, as_of))

    async def _ask(self, name: str, params: Mapping[str, Any], timeout: float, as_of: AsOf | None) -> Answer:
        self._fraction = None
        task = self._task = asyncio.current_task()
        try:
            last = await self._log.last_sequence()
            return await self._log.query(name, params, after=last, timeout=timeout, as_of=as_of, progress=self._heard)
        except asyncio.CancelledError:
            if self._task is task:
                raise
            raise QueryError("the question was given up") from None
        finally:
            self._task = None

    def _heard(self, fraction: float | None) -> None:
        self._fraction = fraction

    def interrupt(self) -> None:
        """Give up the question that another thread waits for; the service stops working on it."""
        task, self._task = self._task, None
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def progress(self) -> float | None:
        """Return how far the service has said that it is."""
        return self._fraction


@contextlib.contextmanager
def open_service(settings: Settings) -> Iterator[ServiceReader]:
    """Yield a reader over the services of ``settings``, as long as the block lasts; see `vmr.log.AsyncLog.connect` for what it raises."""
    thread = LoopThread("vmr questions")
    try:
        log = thread.run(AsyncLog.connect(settings, create=False))
        try:
            yield ServiceReader(log, thread)
        finally:
            thread.run(log.close())
    finally:
        thread.stop()
