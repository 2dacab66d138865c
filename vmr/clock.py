"""What time it is and how long to wait, as an object that is passed in, so that tests decide about time.

`SystemClock` is the host's; `vmr.testing.MockClock` stands still until a test moves it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The three questions about time that vmr asks."""

    def now(self) -> datetime:
        """Return the wall-clock time, in UTC. It may jump; use it for records and for times agreed with others."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary origin; they never run backwards. Use them for durations and bounds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; zero and negative values return after one turn of the event loop."""
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
