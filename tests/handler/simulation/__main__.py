"""Run simulated experiments.

::

    python -m tests.handler.simulation SEED                  show one, with everything that happened in it
    python -m tests.handler.simulation --trace SEED          only what happened
    python -m tests.handler.simulation --range FIRST COUNT   run many; say which are bad, and how fast it went
"""

from __future__ import annotations

import gc
import logging
import sys
import time

import structlog

from tests.handler.simulation.invariants import violations
from tests.handler.simulation.scenario import Scenario, draw
from tests.handler.simulation.world import World
from vmr.testing import SimulationError

_COLLECT_EVERY = 50


def simulate(seed: int) -> tuple[World, list[str]]:
    """Run the experiment of a seed; return it, and what did not hold."""
    world = World(draw(seed))
    try:
        world.run()
    except SimulationError as error:
        world.violations.append(f"the simulation cannot go on: {error}")
    return world, violations(world)


def _describe(scenario: Scenario) -> str:
    lines = []
    for vm in scenario.vms:
        lines.append(f"{vm.name}: socket of a {vm.socket}, boots in {vm.boot_seconds} s")
        for entry in vm.entries:
            lines += [f"  {entry}", f"      {vm.programs.get(entry.arguments)}"]
        lines += [f"  {change}" for change in vm.changes]
    lines += [str(trouble) for trouble in scenario.troubles]
    lines += [f"the log is away from {begin:.3f} to {end:.3f}" for begin, end in scenario.outages]
    return "".join(f"{line[:600]}\n" for line in lines)


def _show(seed: int) -> int:
    world, wrong = simulate(seed)
    sys.stdout.write(_describe(world.scenario))
    sys.stdout.write("\n".join(world.trace()))
    sys.stdout.write(f"\n{world.loop.steps} callbacks, {world.loop.time():.1f} s, {len(world.executions)} executions\n")
    sys.stdout.write("".join(f"VIOLATION {what}\n" for what in wrong))
    return 1 if wrong else 0


def _trace(seed: int) -> int:
    sys.stdout.write("\n".join(simulate(seed)[0].trace()))
    return 0


def _range(first: int, count: int) -> int:
    begun = time.monotonic()
    gc.freeze()
    gc.disable()  # each world is garbage as a whole, now and then
    bad = steps = executions = 0
    for seed in range(first, first + count):
        world, wrong = simulate(seed)
        steps += world.loop.steps
        executions += len(world.executions)
        if wrong:
            bad += 1
            sys.stdout.write(f"seed {seed}: {'; '.join(wrong)[:1500]}\n")
            sys.stdout.flush()
        if seed % _COLLECT_EVERY == 0:
            gc.collect()
    took = time.monotonic() - begun
    sys.stdout.write(
        f"{count} seeds from {first}: {bad} bad; {executions} executions, {steps} callbacks in {took:.1f} s, "
        f"{count / took:.1f} seeds/s\n"
    )
    return 1 if bad else 0


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return 1 when something does not hold."""
    level = logging.CRITICAL if arguments[:1] in (["--range"], ["--trace"]) else logging.INFO
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    match arguments:
        case ["--range", first, count]:
            return _range(int(first), int(count))
        case ["--trace", seed]:
            return _trace(int(seed))
        case [seed]:
            return _show(int(seed))
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
