"""When each event of a replay is due. Pure: it is told what time it is.

The time that is replayed is the events' own: when each happened, by the clock of its producer. Producers' clocks differ and the log's
order is what counts, so it never runs backwards: an event that says an earlier time than one before it is due together with that one.
Every moment is reckoned from the last change (beginning, speed, pause, seek), never from the event before, so that nothing adds up.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

SLOWEST: Final = 1 / 64
FASTEST: Final = 4096.0


class Timing:
    """The course of one replay, from times of events to moments of a monotonic clock, in seconds.

    Attributes:
        speed: seconds of the record per second; infinite for as fast as possible.
        paused: whether nothing is due.

    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.paused = False
        self._position: datetime | None = None
        self._anchor = 0.0
        self._latest: datetime | None = None

    def place(self, time: datetime, now: float) -> datetime:
        """Return where in the record the next event lies that says ``time``; the first one begins the replay at ``now``."""
        if self._position is None:
            self._position, self._anchor = time, now
        if self._latest is None or time > self._latest:
            self._latest = time
        return self._latest

    def due(self, place: datetime) -> float:
        """Return the moment at which the event at ``place`` is due; infinite while there is a pause."""
        if self.paused:
            return math.inf
        if self._position is None or math.isinf(self.speed):
            return -math.inf
        return self._anchor + (place - self._position).total_seconds() / self.speed

    def position(self, now: float) -> datetime | None:
        """Return where in the record the replay is at ``now``; None before its beginning."""
        if self._position is None or self.paused:
            return self._position
        if math.isinf(self.speed):
            return self._latest
        return self._position + timedelta(seconds=(now - self._anchor) * self.speed)

    def set_speed(self, speed: float, now: float) -> None:
        """Go on at ``speed`` from where the replay is."""
        self._anchor_at(self.position(now), now)
        self.speed = speed if math.isinf(speed) else min(max(speed, SLOWEST), FASTEST)

    def pause(self, now: float) -> None:
        """Stay where the replay is."""
        self._anchor_at(self.position(now), now)
        self.paused = True

    def resume(self, now: float) -> None:
        """Go on from where the replay stayed."""
        self._anchor = now
        self.paused = False

    def step(self, place: datetime, now: float) -> None:
        """Be at ``place``, because the event there is told out of its time."""
        self._anchor_at(place, now)

    def seek(self, position: datetime | None, now: float) -> None:
        """Go on from ``position``; None for the time of the next event."""
        self._anchor_at(position, now)
        self._latest = position

    def _anchor_at(self, position: datetime | None, now: float) -> None:
        self._position, self._anchor = position, now
