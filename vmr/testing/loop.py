"""An asyncio event loop whose time is simulated: it never sleeps, and the same program runs in it the same way every time.

::

    with SimulatedLoop() as loop:
        loop.run_until_complete(asyncio.wait_for(something(), 3600))  # an hour, in no time

When no callback is ready the loop's time jumps to the next timer, so that `asyncio.sleep`, `asyncio.timeout` and everything built on them
need no real time. It knows no sockets, processes and signals; work for threads (`asyncio.to_thread`) is done at once, in the loop's own.
Callbacks run in the order in which they were asked for, as asyncio promises; whoever wants disorder makes it with random delays.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar, TypeVarTuple, Unpack

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class SimulationError(Exception):
    """A simulation cannot go on: nothing can ever happen again, or something goes on for ever."""


class _Task(asyncio.Task[_Result]):
    """A task whose place in a set does not depend on its address in memory."""

    def __init__(
        self,
        coroutine: Generator[Any, None, _Result] | Coroutine[Any, Any, _Result],
        *,
        loop: SimulatedLoop,
        context: Context | None = None,
    ) -> None:
        self._number = loop.count_task()
        super().__init__(coroutine, loop=loop, context=context)
        process = _process.get() if context is None else context.get(_process)
        if process is not None:
            process.add(self)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(base_events.BaseEventLoop):
    """The loop. `time` begins at 0 and is in seconds. ``most_steps`` callbacks are taken for an endless loop.

    Attributes:
        steps: how many callbacks have run.
        failures: what was given to the loop's exception handler, which is not called otherwise.

    """

    # asyncio's own names, which its stubs do not list
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self, *, most_steps: int = 10_000_000) -> None:
        super().__init__()
        self.set_debug(False)  # which slows it tenfold, and is about real time
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        self._now = 0.0
        self._most_steps = most_steps
        self._tasks_made = 0
        self._interruptions: list[tuple[int, int, Callable[[], None]]] = []
        self._next_interruption = most_steps
        self.set_task_factory(_make_task)  # type: ignore[arg-type] # the stub's protocol wants the base class's loop
        self.set_exception_handler(lambda _, failure: self.failures.append(failure))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    def time(self) -> float:
        """Return the simulated seconds since the loop was made."""
        return self._now

    def interrupt(self, steps: int, function: Callable[[], None]) -> None:
        """Call ``function`` between two callbacks, when ``steps`` more have run, whatever they are."""
        heapq.heappush(self._interruptions, (self.steps + steps, len(self._interruptions), function))
        self._next_interruption = self._interruptions[0][0]

    def allow(self, steps: int) -> None:
        """Take only ``steps`` callbacks from now on for an endless loop."""
        self._most_steps = self.steps + steps
        self._next_interruption = self._interruptions[0][0] if self._interruptions else self._most_steps

    def count_task(self) -> int:
        """Return a number that no other task of this loop has."""
        self._tasks_made += 1
        return self._tasks_made

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Arguments]], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        """Call ``func`` now; its result is there at the next turn, as a thread's would be at some later one."""
        future: asyncio.Future[_Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the caller's, as with a thread)
            future.set_exception(error)
        return future

    def _write_to_self(self) -> None:
        """Nobody waits in another thread."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets."""

    def _run_once(self) -> None:
        self._reach_next()
        for _ in range(len(self._ready)):
            if self.steps >= self._next_interruption:
                self._interrupted()
            handle = self._ready.popleft()
            if not handle.cancelled():
                self.steps += 1
                handle._run()  # noqa: SLF001 (a loop is what calls it)

    def _reach_next(self) -> None:
        """Make ready what is due; when nothing is ready, jump to the next timer first."""
        timers = self._scheduled
        while timers and timers[0].cancelled():
            self._forget(heapq.heappop(timers))
        if not self._ready and not self._stopping:
            if not timers:
                raise SimulationError(f"nothing can happen any more, at {self._now} s")
            self._now = max(self._now, timers[0].when())
        while timers and timers[0].when() <= self._now:
            handle = heapq.heappop(timers)
            self._forget(handle)
            self._ready.append(handle)

    def _forget(self, handle: asyncio.TimerHandle) -> None:
        handle._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 (as the base class does)

    def _interrupted(self) -> None:
        if self.steps >= self._most_steps:
            raise SimulationError(f"no end after {self.steps} callbacks, at {self._now} s")
        _, _, function = heapq.heappop(self._interruptions)
        self._next_interruption = self._interruptions[0][0] if self._interruptions else self._most_steps
        function()


def _make_task(loop: SimulatedLoop, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
    return _Task(coroutine, loop=loop, context=context)


class LoopClock:
    """A `vmr.clock.Clock` that goes with the time of the running event loop, from ``start`` on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime = _START) -> None:
        self._loop = loop
        self._start = start

    def now(self) -> datetime:
        """Return ``start`` plus the loop's time."""
        return self._start + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the loop."""
        await asyncio.sleep(max(seconds, 0.0))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Set a timer of the loop."""
        return self._loop.call_later(max(seconds, 0.0), callback)


_process: ContextVar[SimulatedProcess | None] = ContextVar("_process", default=None)
_MOST_TURNS: Final = 200


class SimulatedProcess:
    """A coroutine with every task that it starts, and that these start: what one process would hold. `kill` ends it at any moment.

    Attributes:
        task: the task of the coroutine itself.

    """

    def __init__(self, loop: SimulatedLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []
        context = copy_context()
        context.run(_process.set, self)
        self.task = loop.create_task(coroutine, context=context)

    def add(self, task: asyncio.Task[Any]) -> None:
        """Count a task as this process's."""
        if len(self._tasks) > 100:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)

    def kill(self) -> None:
        """End every task now.

        A process that is killed does nothing any more, and a task that is cancelled may: cut first whatever connects it with the
        world, so that no ``finally`` of it has an effect.
        """
        self._reap(_MOST_TURNS)

    def _reap(self, turns: int) -> None:
        left = [task for task in self._tasks if not task.done()]
        if not left:
            return
        if not turns:
            raise SimulationError(f"tasks of a killed process do not end: {left}")
        for task in left:
            task.cancel()
        self._loop.call_soon(self._reap, turns - 1, context=Context())
