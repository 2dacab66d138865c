"""The two threads between synchronous and asynchronous code: `LoopThread` and `CallThread`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from vmr.call_thread import CallThread
from vmr.loop_thread import LoopThread


async def double(number: int) -> int:
    """Return twice the number, one turn later."""
    await asyncio.sleep(0)
    return 2 * number


class TestLoopThread:
    """Coroutines for synchronous code."""

    def test_results_and_errors(self) -> None:
        """They come back to the calling thread."""
        thread = LoopThread("test")
        assert thread.run(double(4)) == 8
        with pytest.raises(TypeError):
            thread.run(double(None))  # type: ignore[arg-type]
        thread.stop()
        thread.stop()

    async def test_where_a_loop_runs(self) -> None:
        """It works within a coroutine, as in a notebook."""
        thread = LoopThread("test")
        assert thread.run(double(1)) == 2
        thread.stop()

    def test_it_starts_again(self) -> None:
        """After `stop`, with a loop of its own."""
        thread = LoopThread("test")
        assert thread.run(double(1)) == 2
        thread.stop()
        assert thread.run(double(2)) == 4
        thread.stop()

    def test_time_outs(self) -> None:
        """The work is cancelled, and the loop goes on."""
        thread = LoopThread("test")
        cancelled = threading.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        with pytest.raises(TimeoutError):
            thread.run(hang(), 0.05)
        assert cancelled.wait(5)
        assert thread.run(double(1)) == 2
        thread.stop()

    def test_stop_ends_what_runs(self) -> None:
        """A thread that waits for it is set free."""
        thread = LoopThread("test")
        running = threading.Event()
        ended: list[BaseException] = []

        async def hang() -> None:
            running.set()
            await asyncio.Event().wait()

        def wait() -> None:
            try:
                thread.run(hang())
            except CancelledError as error:
                ended.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert running.wait(5)
        thread.stop()
        waiting.join(5)
        assert len(ended) == 1

    def test_forgotten(self) -> None:
        """One that nobody has any more ends its thread."""
        thread = LoopThread("forgotten")
        thread.run(double(1))
        (found,) = [each for each in threading.enumerate() if each.name == "forgotten"]
        del thread
        found.join(5)
        assert not found.is_alive()

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_in_a_forked_child(self) -> None:
        """A child has a loop of its own; the parent's is left alone."""
        thread = LoopThread("test")
        thread.run(double(1))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if thread.run(double(3), 10) == 6 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert thread.run(double(2)) == 4
        thread.stop()


class TestCallThread:
    """Blocking calls for a loop."""

    async def test_results_errors_and_order(self) -> None:
        """Calls are made one after the other, in another thread."""
        calls = CallThread("test")
        order: list[int] = []
        await asyncio.gather(*(calls.call(order.append, number) for number in range(5)))
        assert order == list(range(5))
        assert await calls.call(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await calls.call(divmod, 1, 0)
        calls.stop()
        assert await calls.call(len, "again") == 5
        calls.stop()

    async def test_a_call_that_hangs(self) -> None:
        """It is left behind; the next call has another thread."""
        calls = CallThread("test")
        release = threading.Event()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(calls.call(release.wait, 60), 0.05)
        calls.stop()
        assert await asyncio.wait_for(calls.call(len, "abc"), 5) == 3
        calls.stop()
        release.set()

    def test_a_hanging_call_does_not_hold_the_interpreter(self) -> None:
        """The process ends, though a call never does; a result for a loop that is gone disturbs nobody."""
        script = """
import asyncio, threading
from vmr.call_thread import CallThread
async def main():
    for wait in (threading.Event().wait, lambda: None):
        try:
            await asyncio.wait_for(CallThread("t").call(wait), 0.001)
        except TimeoutError:
            pass
asyncio.run(main())
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stderr) == (0, "")
