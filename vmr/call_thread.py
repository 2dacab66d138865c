"""A thread that makes blocking calls for an event loop, one after the other, and is left behind when a call hangs.

Executors of the standard library wait for their threads when the interpreter exits; a call that never ends would hold
it for ever.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

_T = TypeVar("_T")
_Work: TypeAlias = Callable[[], None] | None


class CallThread:
    """Makes blocking calls in a daemon thread, which starts with the first of them."""

    def __init__(self, name: str) -> None:
        """Prepare without starting anything; ``name`` is the thread's."""
        self._name = name
        self._work: queue.SimpleQueue[_Work] | None = None

    async def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Return what the call returns, or raise what it raises. Cancelling stops the wait and not the call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def work() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
                _tell(loop, future, future.set_exception, error)
            else:
                _tell(loop, future, future.set_result, result)

        self._queue().put(work)
        return await future

    def stop(self) -> None:
        """Have the thread end after the calls that are waiting, or never if one of them hangs.

        The next call starts another.
        """
        if self._work is not None:
            self._work.put(None)
            self._work = None

    def _queue(self) -> queue.SimpleQueue[_Work]:
        if self._work is None:
            self._work = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._work,), name=self._name, daemon=True).start()
        return self._work


def _serve(work: queue.SimpleQueue[_Work]) -> None:
    while (item := work.get()) is not None:
        item()


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[_T], how: Callable[[Any], None], what: object
) -> None:
    def set_it() -> None:
        if not future.done():
            how(what)

    if not loop.is_closed():  # whoever waited is gone
        loop.call_soon_threadsafe(set_it)
