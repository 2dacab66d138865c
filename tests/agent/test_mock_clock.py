"""The mock clock: time moves when told, sleepers wake in order and see their own deadline."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from vmr.clock import Clock, SystemClock
from vmr.testing import MockClock


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    """Each sees exactly its deadline, also one that sleeps again meanwhile."""
    clock, seen = MockClock(), list[tuple[str, float]]()

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.sleep(pause)
            seen.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(*arguments)) for arguments in (("a", 5), ("b", 1, 2, 4), ("c", 3), ("d", 100))]
    await clock.advance(10)
    assert seen == [("b", 1), ("c", 3), ("b", 3), ("a", 5), ("b", 7)]
    assert clock.monotonic() == 10
    assert (clock.sleeping, clock.next_deadline) == (1, 100)
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (clock.sleeping, clock.next_deadline) == (0, None)


async def test_it_stands_still() -> None:
    """Real time does not move it, and `sleep` of nothing returns."""
    clock = MockClock(datetime(2026, 5, 1, tzinfo=UTC))
    await asyncio.sleep(0.01)
    await clock.sleep(0)
    await clock.sleep(-1)
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 5, 1, tzinfo=UTC), 0)


async def test_the_wall_clock_can_be_set() -> None:
    """Durations do not notice."""
    clock = MockClock(datetime(2026, 5, 1, tzinfo=UTC))
    await clock.advance(10)
    clock.shift_wall(-3600)
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=10 - 3600)
    assert clock.monotonic() == 10


async def test_autojump_goes_from_deadline_to_deadline() -> None:
    """An hour of sleeping takes a moment, in order."""
    clock, seen = MockClock(autojump=0.001), list[float]()

    async def sleeper(pause: float) -> None:
        while clock.monotonic() < 3600:
            await clock.sleep(pause)
            seen.append(clock.monotonic())

    async with asyncio.timeout(10):
        await asyncio.gather(sleeper(700), sleeper(900))
    assert seen == sorted(seen)
    assert seen[-1] == 4200


async def test_autojump_waits_for_those_who_work() -> None:
    """It does not jump while somebody asks it again and again."""
    clock = MockClock(autojump=0.3)
    task = asyncio.create_task(clock.sleep(1))
    for _ in range(8):
        await asyncio.sleep(0.05)
        assert clock.monotonic() == 0
    await asyncio.wait_for(task, 5)
    assert clock.monotonic() == 1


@pytest.mark.parametrize("clock", [SystemClock(), MockClock(autojump=0.001)])
async def test_both_clocks_keep_the_contract(clock: Clock) -> None:
    """Times are UTC, and a sleep is as long as it says."""
    assert clock.now().tzinfo is UTC
    begin, wall = clock.monotonic(), clock.now()
    await clock.sleep(0.02)
    assert clock.monotonic() - begin >= 0.0199
    assert clock.now() > wall
    await clock.sleep(-5)
