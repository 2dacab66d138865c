"""Where the time went: each thing by its name, and every second exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compare.stories import Story, copy, moment, pause, program, read_model
from tests.readmodel.histories import FAMILIES, histories
from tests.readmodel.recorded_run import recorded_run
from vmr import events
from vmr.blame import Blame, blame
from vmr.errors import DataError, InvalidInputError
from vmr.events import Recorded
from vmr.roster import is_full_clear


def path_of(found: Blame) -> list[tuple[float, str, str | None]]:
    """Return the critical path as seconds, kind and entry."""
    return [(row["seconds"], row["kind"], row["entry"]) for row in found.critical_path]


def adds_up(found: Blame) -> None:
    """Assert that the pieces are the whole: on the critical path, of every VM, and over all of them."""
    before, after = found.run["seconds_before"], found.run["seconds_after"]
    assert sum(row["seconds"] for row in found.critical_path) == pytest.approx(before, abs=1e-6)
    for vm in found.vms:
        assert sum(vm.before.values()) == pytest.approx(before, abs=1e-6)
        assert sum(vm.after.values()) == pytest.approx(after, abs=1e-6)
        assert min((*vm.before.values(), *vm.after.values()), default=0) >= 0
    for phase, seconds in (("before the start", before), ("after the start", after)):
        of_all = sum(row["seconds"] for row in found.totals if row["phase"] == phase)
        assert of_all == pytest.approx(seconds * len(found.vms), abs=1e-5)


def test_each_step_to_the_start(tmp_path: Path) -> None:
    """Handler, agent, files, programs, launching, a reboot, another attempt, a pause, a copy and the barrier have their seconds."""
    story = Story()
    story.say(-120, events.ExperimentLaunched(launch_time=moment(-120), name="all of it"))
    entries = (program(-30, "boot"), program(-20, "flaky"), copy(-10, "logs"))
    story.added("slow", *entries, at=-110, ready=-20)
    story.added("quick", at=-110, ready=-100)
    story.ran("slow", "-30/boot", -104, 4, 10, reboot=True)
    story.say(-94, events.VmRebooted(server_uuid="slow", entries=("-30/boot",), boot_id="2"))
    story.ran("slow", "-30/boot", -94, 1, attempt=2)
    story.ran("slow", "-20/flaky", -93, 3, 1)
    story.ran("slow", "-20/flaky", -88, 3, attempt=2)
    story.say(-85, events.VmPaused(server_uuid="slow"))
    story.say(-40, events.VmResumed(server_uuid="slow"))
    story.ran("slow", "-10/logs", -40, 15, None, measured=False)
    story.started(-18)
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert found.vm == "slow"
    assert path_of(found) == [
        (10, "preparing", None),
        (1, "handler", None),
        (2, "agent", None),
        (3, "files", None),
        (4, "running", "-30/boot"),
        (6, "reboot", "-30/boot"),
        (1, "running", "-30/boot"),
        (3, "running", "-20/flaky"),
        (2, "retry", "-20/flaky"),
        (3, "running", "-20/flaky"),
        (45, "pause", None),
        (15, "copies", "-10/logs"),
        (5, "unaccounted", None),
        (2, "barrier", None),
        (18, "start_buffer", None),
    ]
    assert [row["attempt"] for row in found.critical_path if row["entry"] == "-30/boot"] == [1, 1, 2]
    adds_up(found)


def test_launching(tmp_path: Path) -> None:
    """What passes between the order to launch and the recorded end, beyond what the guest measured, went into launching and recording."""
    story = Story()
    story.added("vm", program(-10, "setup"), ready=-90)
    story.began("vm", "-10/setup", -97)
    story.say(-91, events.EntryFinished(server_uuid="vm", entry="-10/setup", attempt=1, exit_code=0, duration=5.5))
    story.started()
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert path_of(found)[2:5] == [
        (0.5, "launch", "-10/setup"),
        (5.5, "running", "-10/setup"),
        (1, "unaccounted", None),
    ]


def test_side_by_side(tmp_path: Path) -> None:
    """Of entries that ran side by side the one that ended last is named, and their time counts once."""
    story = Story()
    story.added("vm", program(-10, "short"), program(-10, "long"), ready=-80)
    story.ran("vm", "-10/short", -97, 4)
    story.ran("vm", "-10/long", -97, 17)
    story.started()
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert path_of(found)[2] == (17, "running", "-10/long")
    adds_up(found)


@pytest.mark.parametrize(
    ("duration", "resumed", "seconds"), [(20.0, None, 20), (20.0, -90, 20), (None, -60, 35), (None, None, 95)]
)
def test_pauses(tmp_path: Path, duration: float | None, resumed: float | None, seconds: float) -> None:
    """A pause with a length lasts that long, whoever resumes; one without lasts until somebody does, or to the start."""
    story = Story()
    story.added("vm", ready=None)
    story.say(-97, events.VmTimeTicked(server_uuid="vm", current_time="-10"))
    story.say(-95, events.ExperimentPaused(duration=duration))
    if resumed is not None:
        story.say(resumed, events.VmResumed(server_uuid="vm"))
    story.started()
    (vm,) = blame(story.read_model(tmp_path / "run.duckdb")).vms
    assert vm.before["pause"] == seconds


def test_hold_of_the_schedule(tmp_path: Path) -> None:
    """A pause that stands in the schedule is a pause, and no slow entry."""
    story = Story()
    story.added("vm", pause(1, "rest", 30), program(40, "work"))
    story.started()
    story.ran("vm", "1/rest", 1, 30, None, measured=False)
    story.ran("vm", "40/work", 70, 2, late=1)
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert found.vms[0].after == pytest.approx({"pause": 30, "running": 2, "late": 1, "idle": 39})
    assert [row["entry"] for row in found.entries] == ["40/work"]
    adds_up(found)


def test_waiting_for_a_schedule_and_a_second_handler(tmp_path: Path) -> None:
    """A VM whose schedule came late waited for it; one that a handler let go waited for another."""
    story = Story()
    story.say(-100, events.VmAdded(server_uuid="vm", server_name="vm"))
    story.say(-99, events.HandlerAttached(server_uuid="vm", handler="h1", host="lab1"))
    story.say(-90, events.SchedulePublished(server_name="vm", entries=(program(-5, "a"),)))
    story.say(-88, events.VmStateSet(server_uuid="vm", state="configuring"))
    story.ran("vm", "-5/a", -87, 1)
    story.say(-86, events.HandlerDetached(server_uuid="vm", handler="h1"))
    story.say(-70, events.HandlerAttached(server_uuid="vm", handler="h2", host="lab1"))
    story.say(-70, events.VmStateSet(server_uuid="vm", state="configured"))
    story.started(-70)
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    expected = {"handler": 17, "schedule": 9, "agent": 2, "files": 1, "running": 1, "start_buffer": 70}
    assert found.vms[0].before == pytest.approx(expected)


def test_who_is_not_ready(tmp_path: Path) -> None:
    """Before the start is known, the path is that of a VM that is not ready; what failed is failed to the end."""
    story = Story()
    story.added("ready", ready=-80)
    story.added("broken", ready=None)
    story.say(-90, events.VmStateSet(server_uuid="broken", state="failed", reason="its disk"))
    story.say(-30, events.VmTimeTicked(server_uuid="ready", current_time="-10"))
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert (found.vm, found.run["start"]) == ("broken", None)
    assert path_of(found)[-1] == (60, "failed", None)
    assert [(vm.vm, vm.ready_after) for vm in found.vms] == [("broken", None), ("ready", 20)]
    adds_up(found)


def test_path_of_another_vm(tmp_path: Path) -> None:
    """The path of any VM can be asked for; one that is not there is an error."""
    story = Story()
    story.added("a", ready=-80)
    story.added("b", ready=-60)
    story.started()
    path = story.read_model(tmp_path / "run.duckdb")
    assert (blame(path).vm, blame(path, "a").vm) == ("b", "a")
    with pytest.raises(InvalidInputError, match="no VM 'c' in this run"):
        blame(path, "c")


def test_nothing_recorded(tmp_path: Path) -> None:
    """A run without VMs has nothing to account for."""
    with pytest.raises(DataError, match="no VMs"):
        blame(Story().read_model(tmp_path / "run.duckdb"))


def test_recorded_run_adds_up(tmp_path: Path) -> None:
    """A run with everything in it adds up; the slowest entries are over all VMs."""
    found = blame(read_model(tmp_path / "run.duckdb", recorded_run()))
    adds_up(found)
    assert found.vm == "client-3"
    by_entry = {row["entry"]: row for row in found.entries}
    assert (by_entry["10/fetch.sh"]["executions"], by_entry["10/fetch.sh"]["most_of"]) == (2, "client-2")


def of_the_last_run(log: list[Recorded]) -> list[Recorded]:
    """Return the events from the last full clearing on."""
    clears = [number for number, recorded in enumerate(log) if is_full_clear(recorded)]
    return log[clears[-1] if clears else 0 :]


@given(
    log=st.sampled_from(["vms", "attempts", "handlers", "everything"]).flatmap(lambda name: histories(FAMILIES[name]))
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_recorded_adds_up(log: list[Recorded], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Events that contradict each other are accounted for as well: nothing counts twice, and nothing is left out."""
    path = read_model(tmp_path_factory.mktemp("any") / "run.duckdb", log)
    if any(isinstance(recorded.event.body, events.VmAdded) for recorded in of_the_last_run(log)):
        adds_up(blame(path))
    else:
        with pytest.raises(DataError, match="no VMs"):
            blame(path)


def test_vms_that_were_removed(tmp_path: Path) -> None:
    """A VM that was removed after the start held it up all the same; one that was removed before did not."""
    story = Story()
    story.added("early", ready=-90)
    story.added("late", ready=-60)
    story.added("gone", ready=-50)
    story.say(-45, events.VmRemoved(server_uuid="gone"))
    story.started()
    story.say(10, events.VmRemoved(server_uuid="late"))
    story.say(20, events.ExperimentEnded())
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert found.vm == "late"
    by_name = {vm.vm: vm for vm in found.vms}
    assert (by_name["late"].after, by_name["gone"].before["removed"]) == ({"idle": 10, "removed": 10}, 45)
    adds_up(found)


def test_a_guest_that_lies_about_durations(tmp_path: Path) -> None:
    """A program cannot have run for longer than passed from its start to its end, or for less than no time."""
    story = Story()
    story.added("vm", program(-20, "long"), program(-10, "back"), ready=-80)
    for place, (entry, duration) in enumerate((("-20/long", 1e300), ("-10/back", -1e300))):
        story.began("vm", entry, -97 + place)
        ended = events.EntryFinished(server_uuid="vm", entry=entry, attempt=1, exit_code=0, duration=duration)
        story.say(-96 + place, ended)
    story.say(-90, events.ExperimentPaused(duration=1e300))
    story.started()
    found = blame(story.read_model(tmp_path / "run.duckdb"))
    assert path_of(found)[2:4] == [(1, "running", "-20/long"), (1, "launch", "-10/back")]
    adds_up(found)
