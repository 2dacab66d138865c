"""``vmr time`` and ``vmr end``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.operating import Terminal
from vmr.cli.experiment import told_time
from vmr.events import ExperimentEnded, ExperimentSealed, SealedEvents
from vmr.log import AsyncLog


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, ["Experiment start time not yet determined."]),
        (61.2, ["Experiment start time: 01-31-2026 12:00:05 UTC", "Experiment started 61 seconds ago"]),
        (-4.6, ["Experiment start time: 01-31-2026 12:00:05 UTC", "Experiment will start in 5 seconds"]),
    ],
)
def test_the_time_in_firewheels_words(since: float | None, expected: list[str]) -> None:
    """Unknown, past and to come."""
    start = None if since is None else datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
    assert told_time(start, since) == expected


async def test_time_follows_the_log(log: AsyncLog, terminal: Terminal) -> None:
    """Not known, known, and not known again after a clearing."""
    unknown = await terminal.type("time", "--json")
    assert json.loads(unknown.out) == {"start_time": None, "seconds_since_start": None}
    assert (await terminal.type("time")).out == "Experiment start time not yet determined.\n"
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=100)
    await log.start(start)
    told = json.loads((await terminal.type("time", "--json")).out)
    assert datetime.fromisoformat(told["start_time"]) == start
    assert 100 <= told["seconds_since_start"] < 130
    assert f"{start:%m-%d-%Y %H:%M:%S} UTC\nExperiment started 1" in (await terminal.type("time")).out
    await log.clear()
    assert json.loads((await terminal.type("time", "--json")).out)["start_time"] is None


async def test_end_is_on_the_record_once(log: AsyncLog, terminal: Terminal) -> None:
    """There must be an experiment, which has not ended; its record is sealed, because no `vmr run` does it."""
    early = await terminal.type("end")
    assert (early.code, "no experiment has been launched" in early.err) == (2, True)
    await log.launch("test")
    assert (await terminal.type("end", "--reason", "seen enough")).code == 0
    late = await terminal.type("end")
    assert (late.code, "has ended already" in late.err) == (2, True)
    found = [each.event.body async for batch in log.read() for each in batch]
    assert found[1] == ExperimentEnded(reason="seen enough")
    (sealed,) = found[2:]
    assert isinstance(sealed, ExperimentSealed)
    assert sealed.events == SealedEvents(1, 2)
