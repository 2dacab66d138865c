"""A clock that stands still until a test moves it, or that jumps to the next deadline when nothing else happens."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS: Final = 20
"""Turns of the event loop that woken tasks get before the next deadline is reached."""


class MockClock:
    """A `vmr.clock.Clock` under a test's control, for the tasks of one event loop.

    `advance` moves it by hand: sleepers wake in the order of their deadlines, and each sees exactly its deadline as the
    time. With ``autojump`` it moves by itself: when nobody has asked it anything for that many seconds of real time, it
    jumps to the next deadline. Choose more than the longest real wait (for a socket, a database) of the tasks under
    test.
    """

    def __init__(self, start: datetime = _START, *, autojump: float | None = None) -> None:
        self._start = start
        self._elapsed = 0.0
        self._autojump = autojump
        self._asked = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        """Return the start plus what has been advanced and shifted."""
        self._touch()
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        self._touch()
        return self._elapsed

    @property
    def sleeping(self) -> int:
        """How many tasks sleep on this clock."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)

    @property
    def next_deadline(self) -> float | None:
        """The monotonic time at which the next sleeper wakes, or None."""
        self._drop_cancelled()
        return self._sleepers[0][0] if self._sleepers else None

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        await self._sleeper(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Future[None]:
        """Let ``callback`` be called when the clock has been advanced by ``seconds``."""
        sleeper = self._sleeper(seconds)
        sleeper.add_done_callback(lambda done: None if done.cancelled() else callback())
        return sleeper

    def _sleeper(self, seconds: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._count, future))
        self._touch()
        return future

    def shift_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator would; `monotonic` and sleepers do not notice."""
        self._start += timedelta(seconds=seconds)

    async def advance(self, seconds: float, *, settle: float = 0.0) -> None:
        """Move the clock by ``seconds``, deadline by deadline.

        After each deadline the woken tasks run; ``settle`` gives them that many seconds of real time more, for what
        they do outside the event loop.
        """
        target = self._elapsed + seconds
        await self._settle(settle)
        while (deadline := self.next_deadline) is not None and deadline <= target:
            self._wake(deadline)
            await self._settle(settle)
        self._elapsed = max(self._elapsed, target)
        await self._settle(settle)

    def _wake(self, deadline: float) -> None:
        self._elapsed = max(self._elapsed, deadline)
        while self._sleepers and self._sleepers[0][0] <= deadline:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def _drop_cancelled(self) -> None:
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)

    @staticmethod
    async def _settle(seconds: float) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _touch(self) -> None:
        if self._autojump is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # outside an event loop nobody can sleep
        self._asked = loop.time()
        if self._watch is None and self._sleepers:
            self._watch = loop.call_later(self._autojump, self._jump)

    def _jump(self) -> None:
        assert self._autojump is not None
        self._watch = None
        loop = asyncio.get_running_loop()
        quiet = loop.time() - self._asked
        if quiet < self._autojump:
            self._watch = loop.call_later(self._autojump - quiet, self._jump)
        elif (deadline := self.next_deadline) is not None:
            self._wake(deadline)
            self._touch()
