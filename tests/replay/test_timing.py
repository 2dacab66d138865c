"""When events of a replay are due, on a clock that obeys."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.readmodel.histories import record
from vmr import events
from vmr.events import Recorded
from vmr.replay.player import Player
from vmr.replay.selection import Wanted
from vmr.replay.timing import Timing
from vmr.testing import MockClock

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(*offsets: float) -> list[Recorded]:
    """Return events that happened so many seconds after the beginning."""
    plain = record([events.ExperimentPaused() for _ in offsets])
    return [
        msgspec.structs.replace(each, event=msgspec.structs.replace(each.event, time=BEGIN + timedelta(seconds=offset)))
        for each, offset in zip(plain, offsets, strict=True)
    ]


class Held:
    """Events in memory, as a source."""

    def __init__(self, held: list[Recorded]) -> None:
        self.held = held
        self.first, self.last, self.database = 1, len(held), "test"

    async def sequence(self, moment: Any) -> int:
        """Return the sequence of the last event at ``moment`` or before."""
        return max((each.sequence for each in self.held if each.event.time <= moment), default=0)

    async def bounds(self, wanted: Wanted) -> tuple[int, int]:
        """Return what is wanted, which is given by sequences."""
        return int(str(wanted.since)), int(str(wanted.until))

    async def read(self, wanted: Wanted) -> AsyncGenerator[list[Recorded], None]:
        """Yield the events in twos."""
        first, last = await self.bounds(wanted)
        for begin in range(first, last + 1, 2):
            yield self.held[begin - 1 : min(begin + 1, last)]


class Watching:
    """Notes when which event is told, in seconds of the clock; can act on the player then."""

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.told: list[tuple[int, float]] = []
        self.jumps: list[int] = []

    async def tell(self, told: list[Recorded]) -> None:
        """Note the events."""
        self.told += [(each.sequence, self.clock.monotonic()) for each in told]

    async def jump(self, sequence: int) -> None:
        """Note the jump."""
        self.jumps.append(sequence)


def replaying(
    held: list[Recorded], speed: float = 1.0, *, stepwise: bool = False
) -> tuple[Player, Watching, MockClock, Callable[[], asyncio.Task[None]]]:
    """Return a player of ``held``, its audience and clock, and what starts it."""
    clock = MockClock()
    watching = Watching(clock)
    player = Player(Held(held), watching, clock, first=1, last=len(held), speed=speed, stepwise=stepwise)
    return player, watching, clock, lambda: asyncio.create_task(player.run())


async def test_gaps_are_kept_to_the_millisecond() -> None:
    """At 1x a thousand events come exactly when they came, however odd the gaps: nothing adds up."""
    source = random.Random(7)
    offsets = [0.0]
    for _ in range(1000):
        offsets.append(round(offsets[-1] + source.random() * source.choice([0.001, 0.1, 5]), 6))
    _, watching, clock, start = replaying(at(*offsets))
    task = start()
    await clock.advance(offsets[-1] + 1)
    await task
    assert [sequence for sequence, _ in watching.told] == list(range(1, 1002))
    assert max(abs(when - offset) for (_, when), offset in zip(watching.told, offsets, strict=True)) <= 0.001


@pytest.mark.parametrize(("speed", "expected"), [(10.0, [0, 0.1, 0.3]), (0.5, [0, 2, 6]), (math.inf, [0, 0, 0])])
async def test_other_speeds(speed: float, expected: list[float]) -> None:
    """Ten times as fast, half as fast, at once."""
    _, watching, clock, start = replaying(at(0, 1, 3), speed)
    task = start()
    await clock.advance(10)
    await task
    assert [when for _, when in watching.told] == pytest.approx(expected, abs=0.001)


async def test_time_does_not_run_backwards() -> None:
    """An event of a clock that is behind comes with the one before it, in the order of the log."""
    _, watching, clock, start = replaying(at(0, 5, 2, 6))
    task = start()
    await clock.advance(10)
    await task
    assert watching.told == [(1, 0), (2, 5), (3, 5), (4, 6)]


async def test_pause_resume_and_speed_on_the_way() -> None:
    """What is left of a gap is what a pause leaves, and a new speed counts from where it is set."""
    player, watching, clock, start = replaying(at(0, 10, 20))
    task = start()
    await clock.advance(4)
    player.toggle()
    await clock.advance(100)
    assert player.position() == BEGIN + timedelta(seconds=4)
    player.toggle()
    await clock.advance(2)
    player.set_speed(2.0)
    await clock.advance(20)
    await task
    assert watching.told == [(1, 0), (2, 108), (3, 113)]


async def test_steps() -> None:
    """Stepwise nothing comes by itself; each step is one event; the space bar goes on from there at its speed."""
    player, watching, clock, start = replaying(at(0, 10, 20, 21), stepwise=True)
    task = start()
    await clock.advance(50)
    assert watching.told == []
    player.step()
    await clock.advance(1)
    player.step()
    await clock.advance(1)
    assert [sequence for sequence, _ in watching.told] == [1, 2]
    player.toggle()
    await clock.advance(20)
    await task
    assert watching.told[2:] == [(3, 62), (4, 63)]


async def test_seeking_forth_and_back() -> None:
    """A seek tells who watches from where it goes on, and the gaps there are kept."""
    player, watching, clock, start = replaying(at(0, 10, 20, 30, 40))
    task = start()
    await clock.advance(5)
    player.seek(3, BEGIN + timedelta(seconds=25))
    await clock.advance(6)
    assert watching.told == [(1, 0), (4, 10)]
    player.seek(0, BEGIN)
    await clock.advance(12)
    assert watching.told[2:] == [(1, 11), (2, 21)]
    player.seek(999)
    await clock.advance(1)
    await task
    assert watching.jumps == [0, 3, 0, 5]


async def test_a_seek_in_a_pause_stays_paused() -> None:
    """It shows the other place and waits there."""
    player, watching, clock, start = replaying(at(0, 10, 20))
    task = start()
    await clock.advance(1)
    player.toggle()
    player.seek(2, BEGIN + timedelta(seconds=15))
    await clock.advance(100)
    assert watching.told == [(1, 0)]
    player.toggle()
    await clock.advance(5)
    await task
    assert watching.told[1:] == [(3, 106)]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    st.floats(1 / 64, 4096),
)
def test_what_is_due_never_runs_backwards(offsets: list[float], speed: float) -> None:
    """Whatever times events say, each is due no earlier than the one before."""
    timing = Timing(speed)
    due = [timing.due(timing.place(BEGIN + timedelta(seconds=offset), 100.0)) for offset in offsets]
    assert due == sorted(due)
    assert due[0] == 100.0
