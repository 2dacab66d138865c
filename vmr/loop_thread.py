"""An event loop in a thread of its own, for synchronous code that uses asynchronous clients."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_STOP_SECONDS: Final = 10.0


class LoopThread:
    """Runs coroutines for any number of threads.

    It starts with the first, and again in a forked child or after `stop`.
    """

    def __init__(self, name: str) -> None:
        """Prepare without starting anything; ``name`` is the thread's."""
        self._name = name
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._finalizer: weakref.finalize[..., LoopThread] | None = None

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Return what ``work`` returns, or raise what it raises; `TimeoutError` after ``timeout`` seconds.

        When the waiting thread is interrupted, ``work`` is cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what runs, then stop the loop and its thread. Stopping twice does nothing."""
        with self._guard:
            finalizer, self._finalizer, self._loop = self._finalizer, None, None
        if finalizer is not None:
            finalizer()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None or os.getpid() != self._process:
                self._process = os.getpid()
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                thread.start()
                self._finalizer = weakref.finalize(self, _stop, self._loop, thread, self._process)
            return self._loop


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int) -> None:
    if os.getpid() != process:  # in a forked child there is no such thread
        return
    asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
    thread.join(_STOP_SECONDS)
    if not thread.is_alive():
        loop.close()


async def _cancel_all() -> None:
    """Cancel what still runs, so that no thread waits for it for ever, and stop the loop."""
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop.call_soon(loop.stop)
