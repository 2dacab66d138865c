"""What a real handler records is explained; nothing of it is told by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare.stories import read_model
from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.blame import blame
from vmr.events import EntryFinished, EntryStarted, ExperimentPaused, ExperimentResumed, Recorded
from vmr.log import AsyncLog
from vmr.testing import Behaviour, SimulatedHost, SimulatedProgram

PROGRAMS = {
    "long": SimulatedProgram(duration=0.6, stdout="long\n"),
    "boot": SimulatedProgram(reboots=1),
    "later": SimulatedProgram(duration=0.2, stdout="later\n", exit_code=3),
}
SCHEDULES = {
    "slow": [program(-20, "long"), program(-10, "boot"), program(-5, "last"), program(1, "later")],
    "quick": [program(-1, "only")],
}


@pytest.fixture
async def run(log: AsyncLog, tmp_path: Path) -> list[Recorded]:
    """Return the log of a run with a reboot, and a break by an operator before the last program of its configuration."""
    (tmp_path / "s").mkdir()
    async with SimulatedHost(tmp_path / "s", list(SCHEDULES), Behaviour(programs=PROGRAMS)) as guests:
        await publish(log, guests.sockets, SCHEDULES)
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, EntryStarted))
            await log.publish(ExperimentPaused())
            await until(log, lambda events: _over(events, "-20/long"))
            await log.publish(ExperimentResumed())
            return await until(log, lambda events: _over(events, "1/later"))


def _over(events: list[Recorded], entry: str) -> bool:
    return any(body.entry == entry for body in bodies(events, EntryFinished))


async def test_everything_is_explained(run: list[Recorded], tmp_path: Path) -> None:
    """Nearly all of the time has a name; what ran, the reboot and the break have theirs."""
    found = blame(read_model(tmp_path / "run.duckdb", run))
    assert found.vm == "slow"
    assert {row["entry"] for row in found.critical_path} >= {"-20/long", "-10/boot", "-5/last"}
    seconds = found.vms[0].before
    assert sum(seconds.values()) == pytest.approx(found.run["seconds_before"], abs=1e-6)
    assert seconds["running"] >= 0.6
    assert min(seconds["agent"], seconds["files"], seconds["reboot"], seconds["pause"]) > 0
    assert seconds.get("unaccounted", 0) < 0.25 * sum(seconds.values())
