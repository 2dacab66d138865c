"""The event loop with simulated time: nothing waits, everything repeats, and a process in it can be killed."""

from __future__ import annotations

import asyncio
import time

import pytest

from vmr.testing import LoopClock, SimulatedLoop, SimulatedProcess, SimulationError


def test_time_jumps_to_what_is_next() -> None:
    """An hour of sleeping takes no time, and everybody wakes at the time that was asked for."""
    woken: list[tuple[float, int]] = []

    async def sleeper(number: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((asyncio.get_running_loop().time(), number))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number, seconds in enumerate((3600.0, 2.5, 0.0, 2.5)):
                group.create_task(sleeper(number, seconds))

    begun = time.monotonic()
    with SimulatedLoop() as loop:
        loop.run_until_complete(main())
    assert woken == [(0.0, 2), (2.5, 1), (2.5, 3), (3600.0, 0)]
    assert time.monotonic() - begun < 5


def test_time_outs_are_of_simulated_time() -> None:
    """`asyncio.timeout` ends what takes too long, and lets through what does not."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        async with asyncio.timeout(60):
            await asyncio.sleep(59)
        return asyncio.get_running_loop().time()

    with SimulatedLoop() as loop:
        assert loop.run_until_complete(main()) == 119


def test_a_clock_goes_with_the_loop() -> None:
    """Wall clock and monotonic clock advance by what was slept."""

    async def main(clock: LoopClock) -> float:
        before = clock.now()
        await clock.sleep(1.5)
        assert clock.monotonic() == 1.5
        return (clock.now() - before).total_seconds()

    with SimulatedLoop() as loop:
        assert loop.run_until_complete(main(LoopClock(loop))) == 1.5


def test_work_for_threads_is_done_in_the_loop() -> None:
    """Results and errors come as from a thread."""

    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(lambda: 7)

    with SimulatedLoop() as loop:
        assert loop.run_until_complete(main()) == 7


def test_waiting_for_what_can_never_happen_is_an_error() -> None:
    """Where a real loop would wait for ever, this one says so; likewise for a loop without end."""

    async def spin() -> None:
        for _ in range(10_000):
            await asyncio.sleep(0)

    with SimulatedLoop() as loop:
        waiting = loop.create_task(asyncio.Event().wait())
        with pytest.raises(SimulationError, match="nothing can happen any more"):
            loop.run_until_complete(waiting)
        waiting.cancel()
    with SimulatedLoop(most_steps=1000) as loop:
        spinning = loop.create_task(spin())
        with pytest.raises(SimulationError, match="no end after 1000 callbacks"):
            loop.run_until_complete(spinning)
        spinning.cancel()
        loop.allow(1000)


def test_a_killed_process_ends_with_every_task_that_it_started() -> None:
    """Also tasks of tasks, shielded ones, and ones that wait in a ``finally``; those of others go on."""
    alive: set[str] = set()

    async def stubborn(name: str) -> None:
        alive.add(name)
        try:
            await asyncio.sleep(100)
        finally:
            try:
                await asyncio.sleep(100)
            finally:
                alive.discard(name)

    async def parent() -> None:
        child = asyncio.create_task(stubborn("child"))
        async with asyncio.TaskGroup() as group:
            group.create_task(stubborn("grandchild"))
            await asyncio.shield(child)

    async def main(loop: SimulatedLoop) -> None:
        process = SimulatedProcess(loop, parent())
        other = asyncio.create_task(stubborn("other"))
        await asyncio.sleep(1)
        assert alive == {"child", "grandchild", "other"}
        process.kill()
        await asyncio.sleep(0.001)
        assert alive == {"other"}
        assert loop.time() < 2
        other.cancel()
        await asyncio.sleep(101)

    with SimulatedLoop() as loop:
        loop.run_until_complete(main(loop))


def test_an_interruption_comes_between_two_callbacks() -> None:
    """After exactly as many callbacks as were asked for."""
    seen: list[int] = []

    async def main(loop: SimulatedLoop) -> None:
        before = loop.steps
        for steps in (5, 2, 9):
            loop.interrupt(steps, lambda: seen.append(loop.steps - before))
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(20)))

    with SimulatedLoop() as loop:
        loop.run_until_complete(main(loop))
    assert seen == [2, 5, 9]
