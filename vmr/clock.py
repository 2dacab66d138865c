"""What time it is and how long to wait, as an object that is passed in, so that tests decide about time.

`SystemClock` is the host's; `vmr.testing.MockClock` stands still until a test moves it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Alarm(Protocol):
    """Something that is going to be called, unless it is cancelled first."""

    def cancel(self) -> object:
        """Let it not be called; nothing happens when it has been."""
        ...


class Clock(Protocol):
    """What vmr asks of time."""

    def now(self) -> datetime:
        """Return the wall-clock time, in UTC. It may jump; use it for records and for times agreed with others."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary origin; they never run backwards. Use them for durations and bounds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; zero and negative values return after one turn of the event loop."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Let ``callback`` be called after ``seconds``: a sleep without a task, for who waits for something else at the same time."""
        ...


class SystemClock:
    """The host's clock. It has no state, so one more instance costs nothing."""

    def now(self) -> datetime:
        """Return the host's UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the host's monotonic time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(seconds, 0.0))

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        """Set a timer of the running event loop."""
        return asyncio.get_running_loop().call_later(max(seconds, 0.0), callback)
