"""One connection per process and database, shared by all objects of the documented interface.

Every `VMMapping`, `ExperimentStart`, `ScheduleDb` and `VmResourceStore` holds a `SharedLog`: a share in the connection of its
process to its database. The first share connects; when the last one is closed, the connection is. Shares that are merely forgotten
(the interface's functions make such objects at every call) leave the connection open for some seconds, so that the next one has it
at once. A forked child shares nothing with its parent: its first call connects anew. At interpreter exit all connections close.

What a share reads is never older than what any process's finished call wrote: it asks the log for its last sequence first, and
keeps an answer only for as long as the log is at the answer's sequence.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

import msgspec

from vmr.errors import LogUnavailableError, ServerNotFoundError
from vmr.events import KnownBody, Recorded
from vmr.log import AsyncLog, Log, last_events
from vmr.query import Answer
from vmr.settings import Settings

_T = TypeVar("_T")
LINGER_SECONDS: Final = 5.0
_AWAY_SECONDS: Final = 5.0
_MOST_ANSWERS: Final = 8


class SharedLog:
    """A share in this process's connection to the database of ``settings``. May be used by many threads at once.

    Making one connects, unless another share has: raises `LogUnavailableError` (a ``ConnectionError``), saying what to type, within
    seconds.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Final = settings
        self._closed = False
        self._held: _Held | None = None
        self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def db(self) -> str:
        """Name of the database."""
        return self.settings.db

    @property
    def log(self) -> Log:
        """The connection of this process; raises `LogUnavailableError` when there is none to be had, or after `close`."""
        return self._connected().connected()

    def _connected(self) -> _Held:
        if self._closed:
            raise LogUnavailableError("this object was closed: make another one")
        held = self._held
        if held is None or held.process != os.getpid() or held.over:
            held = self._held = _hold(self)
        held.connected()
        return held

    def run(self, work: Callable[[AsyncLog], Coroutine[Any, Any, _T]]) -> _T:
        """Return what the coroutine ``work`` makes of the asynchronous log; any thread may call it, also one with a loop of its own.

        Raises `LogUnavailableError` when the server has been away for seconds.
        """
        held = self._connected()
        try:
            return held.connected().run(lambda log: _at_once(log, work))
        except LogUnavailableError:
            held.give_up_if_closed()
            raise

    def publish(self, body: KnownBody) -> int:
        """Record one event and return its sequence once it is on disk."""
        return self.run(lambda log: log.publish(body))

    def publish_many(self, bodies: Sequence[KnownBody]) -> list[int]:
        """Record events in this order and return their sequences once they are on disk."""
        return self.run(lambda log: log.publish_many(bodies))

    def publish_expecting(self, body: KnownBody, last_subject_sequence: int) -> int:
        """Record ``body`` if that is the last sequence on its subject (0: none); raise `ConflictError` otherwise."""
        return self.run(lambda log: log.publish_expecting(body, last_subject_sequence))

    def last_events(self, subjects: Sequence[str]) -> list[Recorded | None]:
        """Return the last event on each of ``subjects`` (no wildcards), None where there is none; never out of date."""
        return self.run(lambda log: last_events(log, subjects))

    def query(self, name: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Ask the read model; the answer reflects everything that any process recorded before this call. Do not change it.

        Raises `ProjectorMissingError` when nobody answers and `QueryError` when the query is refused or takes too long.
        """
        held = self._connected()
        return self.run(lambda log: held.answers.ask(log, name, params or {}))

    def kept(self, kind: type[_T]) -> _T:
        """Return the one object of ``kind`` that all shares of this connection use together; it is made without arguments."""
        return self._connected().kept(kind)

    def drop(self) -> None:
        """Give the share up without waiting for anything, as a destructor must; the connection closes later if it was the last."""
        self._closed = True
        self._held = None

    def close(self) -> None:
        """Give the share up; the last one closes the connection. Closing twice does nothing."""
        held, self._held, self._closed = self._held, None, True
        if held is not None and held.process == os.getpid():
            held.release(self)


async def _at_once(log: AsyncLog, work: Callable[[AsyncLog], Coroutine[Any, Any, _T]]) -> _T:
    try:
        await log.connection.until_connected(_AWAY_SECONDS)
    except LogUnavailableError as error:
        raise ServerNotFoundError(f"{error}: start it with `vmr up`, or see `vmr status`") from error
    return await work(log)


class _Answers:
    """Answers of the read model, each kept while the log is at its sequence. Belongs to the connection's loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], Answer] = OrderedDict()

    async def ask(self, log: AsyncLog, name: str, params: Mapping[str, Any]) -> Answer:
        last = await log.last_sequence()
        key = name, msgspec.json.encode(params)
        answer = self._kept.get(key)
        if answer is None or answer.sequence < last:
            answer = await log.query(name, params, after=last)
            self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[str, bytes], answer: Answer) -> None:
        self._kept[key] = answer
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_ANSWERS:
            self._kept.popitem(last=False)


class _Held:
    """The connection of one process to one database, with its shares. It is over when the last share is closed."""

    def __init__(self, settings: Settings) -> None:
        self.process: Final = os.getpid()
        self.settings: Final = settings
        self.shares: WeakSet[SharedLog] = WeakSet()
        self.answers = _Answers()
        self.over = False
        self._guard = threading.Lock()
        self._log: Log | None = None
        self._kept: dict[type[Any], Any] = {}
        self._idle_since: float | None = None

    def connected(self) -> Log:
        """Return the connection; the first caller makes it, and others wait for that."""
        if self._log is None:
            with self._guard:
                if self._log is None:
                    self._log = Log.connect(self.settings)
                    self._log.run(self._watch)
        return self._log

    def kept(self, kind: type[_T]) -> _T:
        """Return this connection's only object of ``kind``."""
        with self._guard:
            if kind not in self._kept:
                self._kept[kind] = kind()
            found: _T = self._kept[kind]
        return found

    async def _watch(self, _log: AsyncLog) -> None:
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._look)

    def _look(self) -> None:
        """End this when nobody has had a share in it for some seconds. Runs on the connection's loop and must not wait."""
        now = time.monotonic()
        self._idle_since = None if self.shares else self._idle_since or now
        # A lock that is held now may be held by who waits for this very loop: the next look will do.
        if self._idle_since is not None and now - self._idle_since >= LINGER_SECONDS and _lock.acquire(blocking=False):
            try:
                self._end_unless_shared()
            finally:
                _lock.release()
        if self.over:
            threading.Thread(target=self._close, name="vmr log closes", daemon=True).start()
        else:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._look)

    def _end_unless_shared(self) -> None:
        if not self.shares and not self.over:
            self.over = True
            _open.pop(connection_key(self.settings), None)

    def release(self, share: SharedLog) -> None:
        """Take a share back; close the connection if it was the last."""
        with _lock:
            self.shares.discard(share)
            self._end_unless_shared()
        if self.over:
            self._close()

    def give_up_if_closed(self) -> None:
        """Let the next call connect anew when this connection is closed for good, as after a credential was revoked."""
        log = self._log
        if log is not None and log.run(_is_closed):
            with _lock:
                self.over = True
                if _open.get(connection_key(self.settings)) is self:
                    del _open[connection_key(self.settings)]

    def _close(self) -> None:
        with self._guard:
            log = self._log
        if log is not None:
            log.close()


async def _is_closed(log: AsyncLog) -> bool:
    return log.connection.client.is_closed


_lock = threading.Lock()
_open: dict[Settings, _Held] = {}


def connection_key(settings: Settings) -> Settings:
    """Return ``settings`` without what makes no difference to a connection."""
    return msgspec.structs.replace(settings, config_file=None, experiment_start_buffer_sec=0.0)


def _hold(share: SharedLog) -> _Held:
    with _lock:
        key = connection_key(share.settings)
        held = _open.get(key)
        if held is None:
            held = _open[key] = _Held(share.settings)
        held.shares.add(share)
        return held


def _forget_parents_connections() -> None:
    """In a forked child: neither the connections nor the state of the lock are ours."""
    global _lock  # noqa: PLW0603 - a fork is the one moment at which it is replaced
    _lock = threading.Lock()
    _open.clear()


os.register_at_fork(after_in_child=_forget_parents_connections)
