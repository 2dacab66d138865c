"""Exactly once, whatever happens: thousands of simulated experiments in which handlers are killed, replies are lost and guests reboot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
import structlog

from tests.handler.simulation.__main__ import simulate
from tests.handler.simulation.invariants import violations
from tests.handler.simulation.scenario import draw
from tests.handler.simulation.world import World
from vmr.events import EntryFinished, EntryStarted, OutputCaptured

SEEDS: Final = int(os.environ.get("VMR_SIMULATION_SEEDS", "10000"))
PROCESSES: Final = 2
ROOT: Final = Path(__file__).parents[2]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the simulation in a process of its own."""
    command = [sys.executable, "-m", "tests.handler.simulation", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Have handlers say nothing."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.timeout(1200)
def test_the_invariants_hold_for_every_seed() -> None:
    """Each attempt once, every byte once, barriers, order, losses only where there was one, no end without conclusion.

    A seed that fails is named: ``python -m tests.handler.simulation SEED`` shows what happens in it.
    """
    share = SEEDS // PROCESSES
    running = [start("--range", str(number * share), str(share)) for number in range(PROCESSES)]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, "".join(said)


@pytest.mark.parametrize("seed", [7, 20, 46])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    """In this process, again in this process, and in others with other hash functions."""
    traces = ["\n".join(simulate(seed)[0].trace()) for _ in range(2)]
    others = [start("--trace", str(seed), PYTHONHASHSEED=str(hashing)) for hashing in (1, 2)]
    traces += [process.communicate()[0] for process in others]
    assert len(traces[0]) > 1000
    assert len(set(traces)) == 1


def tampered(seed: int) -> World:
    """Return the world of a seed in which all is well."""
    world, wrong = simulate(seed)
    assert wrong == []
    return world


BUSY: Final = next(seed for seed in range(1000) if len(draw(seed).vms[0].programs) > 3 and not draw(seed).troubles)
"""A seed with several programs and without any trouble."""


def test_a_second_execution_is_noticed() -> None:
    """The guests' own account is what counts."""
    world = tampered(BUSY)
    world.executions.append(world.executions[0])
    assert any("executed more than once" in what for what in violations(world))


def test_programs_that_run_too_early_are_noticed() -> None:
    """Barriers and due times."""
    world = tampered(BUSY)
    late = max(world.executions, key=lambda each: each.begin)
    late.begin = late.end = -1.0
    world.executions.sort(key=lambda each: each.begin)
    assert any("was executed" in what or "began before" in what for what in violations(world))


@pytest.mark.parametrize("kind", [EntryStarted, EntryFinished, OutputCaptured])
@pytest.mark.parametrize("twice", [True, False])
def test_events_that_are_missing_or_doubled_are_noticed(kind: type, twice: bool) -> None:  # noqa: FBT001
    """Every start, every end and every piece of output stands in the log once."""
    world = tampered(BUSY)
    records = world.log._stream.records
    place = next(index for index, each in enumerate(records) if isinstance(each.event.body, kind))
    if twice:
        records.insert(place, records[place])
    else:
        del records[place]
    assert violations(world)


def test_output_that_is_not_what_was_written_is_noticed() -> None:
    """Byte for byte."""
    world = tampered(BUSY)
    records = world.log._stream.records
    for index, each in enumerate(records):
        body = each.event.body
        if isinstance(body, OutputCaptured):
            other = msgspec.structs.replace(body, data=b"?" * body.size, text=None)
            event = msgspec.structs.replace(each.event, body=other)
            records[index] = msgspec.structs.replace(each, event=event)
    assert any("bytes of" in what for what in violations(world))
