"""Tells the events of a run once more, each when it is due; can be paused, stepped, sped up and moved meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final, Protocol

from vmr.clock import Clock
from vmr.events import Recorded
from vmr.replay.selection import Wanted
from vmr.replay.source import Source
from vmr.replay.timing import Timing

_LATEST: Final = 0.0005
"""Seconds: an event that is due within them is told at once, because a sleep is not finer."""


class Audience(Protocol):
    """Who is told the events."""

    async def tell(self, events: list[Recorded]) -> None:
        """Take events that are due, in their order."""
        ...

    async def jump(self, sequence: int) -> None:
        """Learn that the next events are those after ``sequence``, wherever the replay was before."""
        ...


class Player:
    """One replay of the events of ``source`` from sequence ``first`` to ``last``.

    Attributes:
        timing: its course.
        sequence: of the last event that was told.
        stepwise: whether each event waits for `step`.

    """

    def __init__(
        self, source: Source, audience: Audience, clock: Clock, *, first: int, last: int, speed: float, stepwise: bool
    ) -> None:
        self.timing = Timing(speed)
        self.stepwise = stepwise
        self.sequence = first - 1
        self.first = first
        self.last = last
        self._source = source
        self._audience = audience
        self._clock = clock
        self._steps = 0
        self._goal: tuple[int, datetime | None] | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Tell all events, and return when the last is told."""
        await self._audience.jump(self.sequence)
        while self.sequence < self.last or self._goal is not None:
            if self._goal is not None:
                (self.sequence, position), self._goal = self._goal, None
                self.timing.seek(position, self._clock.monotonic())
                await self._audience.jump(self.sequence)
            wanted = Wanted(since=self.sequence + 1, until=self.last)
            async with aclosing(self._source.read(wanted)) as batches:
                await self._play(batches)
            if self._goal is None:
                break

    async def _play(self, batches: AsyncGenerator[list[Recorded], None]) -> None:
        async for batch in batches:
            ready: list[Recorded] = []
            for recorded in batch:
                place = self.timing.place(recorded.event.time, self._clock.monotonic())
                if not self._is_due(place):
                    await self._tell(ready)
                    ready = []
                    if not await self._until_due(place):
                        return
                ready.append(recorded)
            await self._tell(ready)
            await asyncio.sleep(0)  # keys and windows get their turn, also at full speed
            if self._goal is not None:
                return

    async def _tell(self, events: list[Recorded]) -> None:
        if events:
            await self._audience.tell(events)
            self.sequence = events[-1].sequence

    def _is_due(self, place: datetime) -> bool:
        if self._goal is not None or self.stepwise or self.timing.paused:
            return False
        return self.timing.due(place) - self._clock.monotonic() <= _LATEST

    async def _until_due(self, place: datetime) -> bool:
        """Wait until the event at ``place`` is due; return False when the replay goes elsewhere instead."""
        while not self._is_due(place):
            if self._goal is not None:
                return False
            if self._steps:
                self._steps -= 1
                self.timing.step(place, self._clock.monotonic())
                return True
            waiting = self.stepwise or self.timing.paused
            await self._wait(None if waiting else self.timing.due(place) - self._clock.monotonic())
        return True

    async def _wait(self, seconds: float | None) -> None:
        """Wait so long, or until something is changed; for ever when None."""
        changed = asyncio.ensure_future(self._changed.wait())
        waits: set[asyncio.Future[Any]] = {changed}
        if seconds is not None:
            waits.add(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waits, return_exceptions=True)
        self._changed.clear()

    def toggle(self) -> None:
        """Pause, or go on at its speed, also after steps."""
        now = self._clock.monotonic()
        if self.timing.paused or self.stepwise:
            self.stepwise = False
            self.timing.resume(now)
        else:
            self.timing.pause(now)
        self._changed.set()

    def step(self) -> None:
        """Tell the next event now, and stay there."""
        if not self.timing.paused:
            self.timing.pause(self._clock.monotonic())
        self._steps += 1
        self._changed.set()

    def set_speed(self, speed: float) -> None:
        """Go on at another speed."""
        self.timing.set_speed(speed, self._clock.monotonic())
        self._changed.set()

    def seek(self, sequence: int, position: datetime | None = None) -> None:
        """Go on with the event after ``sequence``, as at the time ``position`` (default: that of the event)."""
        self._steps = 0
        self._goal = min(max(sequence, self.first - 1), self.last), position
        self._changed.set()

    def position(self) -> datetime | None:
        """Return the time of the record at which the replay is."""
        return self.timing.position(self._clock.monotonic())
