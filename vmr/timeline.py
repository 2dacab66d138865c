"""When schedule time stands still: pauses, breaks and resumes as intervals of real time. Pure.

All real times here are seconds relative to the experiment's start (negative before it). Schedule time equals real time until the
first hold; a hold stops it, and its length is added to all that follows. The rules (`FIREWHEEL's documentation of pauses and
breaks`, with its defects 15 to 18 absent):

- a hold at schedule time t takes effect after the entries at t;
- a finite pause ends after its duration; a resume does not shorten it;
- a break ends at the first resume that comes once it has taken effect: an entry at t is then due at t - break time + resume time;
- a hold whose schedule time has passed when it arrives takes effect on arrival; one at ``-inf`` does so always;
- holds that meet follow one another, first come, first served: two breaks need two resumes;
- a resume that finds no break is without effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Hold(msgspec.Struct, frozen=True):
    """A request to let schedule time stand still.

    Attributes:
        entry: id of the schedule entry, or a name for an operator's command.
        position: schedule time after which it takes effect; ``-inf`` means on arrival.
        arrival: real time at which it was recorded.
        duration: seconds; ``inf`` for a break.

    """

    entry: str
    position: float
    arrival: float
    duration: float


class Interval(msgspec.Struct, frozen=True):
    """A stretch of real time in which schedule time stands still at ``position``.

    Attributes:
        entry: what holds it.
        position: the schedule time at which it stands; entries at it are still due before.
        begin: real time.
        end: real time; ``inf`` while a break waits for its resume.

    """

    entry: str
    position: float
    begin: float
    end: float


class Timeline:
    """The holds of one VM, placed in real time."""

    def __init__(self, holds: Sequence[Hold], resumes: Sequence[float]) -> None:
        """Place ``holds`` (those that came at one time in the order of the schedule) and ``resumes`` (real times, any order)."""
        self.intervals: list[Interval] = []
        self._resumes = sorted(resumes)
        waiting = list(holds)
        while waiting:
            begin, _, _, index = min((*self._takes_effect(hold), index) for index, hold in enumerate(waiting))
            if begin == math.inf:
                break
            self._place(waiting.pop(index), begin)

    def due(self, time: float) -> float:
        """Return the real time at which schedule time reaches ``time`` (positive); ``inf`` while a break lies before it."""
        return time + sum(_held_after_start(interval) for interval in self.intervals if interval.position < time)

    def position(self, real: float) -> float:
        """Return the schedule time at ``real``; 0 at and before the start."""
        held = sum(max(0.0, min(real, each.end) - max(0.0, each.begin)) for each in self.intervals if each.begin < real)
        return max(0.0, real - held)

    def held(self, real: float) -> Interval | None:
        """Return the interval that covers ``real``, or None when schedule time runs."""
        return next((interval for interval in self.intervals if interval.begin <= real < interval.end), None)

    def changes(self) -> list[float]:
        """Return the finite real times at which a hold begins or ends, in order."""
        ends = {moment for interval in self.intervals for moment in (interval.begin, interval.end)}
        return sorted(moment for moment in ends if math.isfinite(moment))

    def _takes_effect(self, hold: Hold) -> tuple[float, float, float]:
        """Return when a hold takes effect, when it would have alone, and when it came: who waits longest is first."""
        alone = hold.arrival if hold.position == -math.inf else max(hold.arrival, self.due(hold.position))
        last = self.intervals[-1].end if self.intervals else -math.inf
        return max(alone, last), alone, hold.arrival

    def _place(self, hold: Hold, begin: float) -> None:
        follows = bool(self.intervals) and self.intervals[-1].end == begin
        if hold.duration == math.inf:
            end = next((at for at in self._resumes if (at > begin if follows else at >= begin)), math.inf)
        else:
            end = begin + hold.duration
        self.intervals.append(Interval(hold.entry, self._stands_at(hold, begin, follows=follows), begin, end))

    def _stands_at(self, hold: Hold, begin: float, *, follows: bool) -> float:
        if begin <= 0 and hold.position != 0:
            return -math.inf  # before the start every positive time lies ahead
        # Rounding must not put a hold before the entries of its own time: they are due before it.
        floor = self.intervals[-1].position if follows else 0.0
        return max(self.position(begin), floor, hold.position)


def _held_after_start(interval: Interval) -> float:
    return max(0.0, interval.end - max(0.0, interval.begin))
