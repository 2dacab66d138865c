"""Defects 10 to 12 and 15 to 19: what is due when, through the real planner and the real folds."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.driving import ORIGIN, Drive, entry, pause, resume
from vmr import events, planner
from vmr.events import ExperimentCleared, Recorded, VmAdded, VmStateSet, new_event
from vmr.experiment import parse_experiment
from vmr.schedule import Pause, check_entry
from vmr.schedule_entry import ScheduleEntry
from vmr.vm_state import BarrierState, ExperimentState, VmState


class Remembered(Drive):
    """A driven VM whose handler can forget all that it knows and learn it again from the log."""

    def recorded(self, sequence: int, body: events.KnownBody) -> Recorded:
        """Keep what is recorded."""
        made = super().recorded(sequence, body)
        self.__dict__.setdefault("history", []).append(made)
        return made

    def restart(self) -> None:
        """Fold the recorded events anew, as the next handler does."""
        self.vm, self.experiment = VmState("u"), ExperimentState()
        for recorded in self.__dict__["history"]:
            self.vm.apply(recorded)
            self.experiment.apply(recorded)


def test_defect_10_a_restarted_handler_runs_nothing_again() -> None:
    """At every restart, wherever it falls, what has run is known, and what has not run still does."""
    drive = Remembered(entry(-10, "a"), entry(-5, "b"), entry(3, "c"), entry(8, "d"))
    drive.run_to(1)
    drive.restart()
    drive.start()
    drive.run_to(5)
    drive.restart()
    drive.run_to(7)
    drive.restart()
    drive.run_to(20)
    assert drive.launched == [(0, "-10/a"), (0, "-5/b"), (4, "3/c"), (9, "8/d")]


def test_defect_11_pending_and_running_entries_outlive_a_restart_in_a_pause_or_break() -> None:
    """What a hold has moved beyond its stored time is still to run, what runs is still known, and no time is added twice."""
    drive = Remembered(entry(990, "long"), pause(1000, None, "break"), entry(1500), pause(1505, 100), entry(1510))
    drive.start()
    drive.now = 990
    drive.step()
    drive.now = 1000
    drive.step()
    drive.restart()
    assert drive.vm.entries["990/long"].running
    drive.finish("990/long")
    drive.now = 1010
    drive.record(events.VmResumed(server_uuid="u"))
    drive.run_to(1512)
    drive.restart()
    assert not drive.vm.entries["1510/x"].concluded
    drive.run_to(2600)
    assert drive.launched == [(990, "990/long"), (1510, "1500/x"), (1620, "1510/x")]


def test_defect_12_vm_time_is_the_schedule_time_that_was_reached() -> None:
    """The time ticks when its entries are launched: it does not run ahead to the last scheduled value when the start is known."""
    drive = Drive(entry(-10), entry(-5), entry(10), entry(600), entry(3600))
    seen = []
    drive.run_to(1)
    seen.append(drive.vm.current_time)
    drive.start(60)
    for moment in (60, 72, 700, 5000):
        drive.run_to(moment)
        seen.append(drive.vm.current_time)
    assert seen == ["-5", "-5", "10", "600", "3600"]


def test_defect_15_a_pause_is_after_the_entries_of_its_time_and_ties_keep_their_order() -> None:
    """Entries a, b, a pause and c at 10: all three run at 10, in the order of the schedule; the same on every replay."""
    schedule = (entry(10, "a"), entry(10, "b"), pause(10, 60), entry(10, "c"), *(entry(11, name) for name in "fbcaed"))
    runs = []
    for _ in range(3):
        drive = Drive(*schedule)
        drive.start()
        drive.run_to(100)
        runs.append(drive.launched)
    assert runs[0][:3] == [(10, "10/a"), (10, "10/b"), (10, "10/c")]
    assert runs[0][3:] == [(71, f"11/{name}") for name in "fbcaed"]
    assert runs[0] == runs[1] == runs[2]


def test_defect_16_a_pause_before_everything_moves_no_negative_time() -> None:
    """A pause of 60 s at -inf delays the configuration; -60 and -50 still run, in order, before the barrier."""
    drive = Drive(pause("-inf", 60), entry(-60, "a"), entry(-50, "b"), entry(10, "c"))
    drive.run_to(59)
    assert drive.order == []
    assert drive.vm.state == "configuring"
    drive.run_to(61)
    assert drive.order == ["-60/a", "-50/b"]
    assert drive.vm.state == "configured"
    drive.start()
    drive.run_to(100)
    assert drive.launched[-1] == (71, "10/c")


@pytest.mark.parametrize("duration", [60.0, math.inf])
def test_defect_17_a_pause_at_zero_can_be_made_and_works(duration: float, tmp_path: Path) -> None:
    """Pauses and breaks at 0, as documented: by code, in an experiment file and at run time."""
    made = ScheduleEntry(-1)
    made.start_time = 0
    made.add_pause(duration)
    (by_code,) = made.to_entries()
    length = "forever" if duration == math.inf else duration
    text = f"name: x\nvms: {{a: {{schedule: [{{at: 0, pause: {length}}}]}}}}\n"
    (in_file,) = parse_experiment(text, tmp_path / "x.yaml").vms[0].entries
    for hold in (by_code, in_file):
        check_entry(hold)
        assert hold.pause == Pause(None if duration == math.inf else duration)
        drive = Drive(hold, entry(-5), entry(5))
        drive.run_to(1)
        assert drive.vm.state == "configured"
        drive.start()
        drive.run_to(65)
        assert drive.order == ["-5/x"]
        drive.record(events.VmResumed(server_uuid="u"))
        drive.run_to(200)
        assert drive.launched[1:] == [(70 if duration == math.inf else 66, "5/x")]


def test_defect_18_a_pause_added_later_moves_what_already_waits() -> None:
    """Also what was due soon, and also twice."""
    drive = Drive(entry(20), entry(30))
    drive.start()
    drive.run_to(19)
    drive.append(pause(19.5, 30, "one"))
    drive.run_to(25)
    drive.append(pause(25, 5, "two"))
    drive.run_to(100)
    assert drive.launched == [(50, "20/x"), (65, "30/x")]


@pytest.mark.parametrize("time", [5, 10, 20])
def test_defect_18_a_break_added_during_a_break_holds_its_followers(time: float) -> None:
    """It takes its turn after the resume of the first, and needs a resume of its own."""
    drive = Drive(pause(10, None, "one"), entry(30))
    drive.start()
    drive.run_to(15)
    drive.append(pause(time, None, "two"))
    drive.record(events.VmResumed(server_uuid="u"))
    drive.run_to(500)
    assert drive.order == []
    drive.append(resume())
    drive.run_to(600)
    assert drive.launched == [(500 + 30 - max(10, time), "30/x")]


def test_defect_18_a_resume_that_comes_with_the_schedule_is_not_lost() -> None:
    """A handler that sees break and resume in its first look at the log ends the break, at the time of the resume."""
    drive = Remembered(pause("-inf", None, "break"), entry(-5), entry(5))
    drive.run_to(20)
    drive.append(resume())
    drive.restart()
    drive.run_to(21)
    assert drive.launched == [(20, "-5/x")]
    assert drive.vm.state == "configured"


def test_defect_19_a_replaced_or_shortened_schedule_loses_no_new_entry() -> None:
    """Identities say what is new: neither a shorter list, nor another order, nor the same length hides an entry."""
    drive = Drive(entry(1, "a"), entry(5, "b"), entry(6, "c"))
    drive.start()
    drive.run_to(2)
    drive.publish(entry(7, "d"))
    drive.publish(entry(8, "e"), entry(7, "d"), entry(1, "a"))
    drive.publish(entry(7, "d"), entry(8, "e"))
    drive.run_to(20)
    assert drive.launched == [(1, "1/a"), (7, "7/d"), (8, "8/e")]


def test_defect_19_no_schedule_is_waited_for_without_an_error() -> None:
    """A VM whose schedule is not there yet has nothing to do, asks for no wake-up, and goes on when it comes."""
    vm, experiment = VmState("u"), ExperimentState()
    added = VmAdded(server_uuid="u", server_name="vm")
    vm.apply(Recorded(sequence=1, stored=0, subject="", event=new_event(added, producer="test", time=ORIGIN)))
    for minute in range(3):
        assert planner.plan(vm, experiment, ORIGIN + timedelta(minutes=minute)) == planner.Plan()
    published = events.SchedulePublished(server_name="vm", entries=(entry(-5),))
    vm.apply(Recorded(sequence=2, stored=0, subject="", event=new_event(published, producer="test", time=ORIGIN)))
    assert planner.plan(vm, experiment, ORIGIN).actions == (planner.SetState("configuring"),)


def _fold(*bodies: events.KnownBody) -> BarrierState:
    barrier = BarrierState()
    for sequence, body in enumerate(bodies, 1):
        barrier.apply(Recorded(sequence=sequence, stored=0, subject="", event=new_event(body, producer="test")))
    return barrier


def test_defect_9_a_state_of_an_unknown_vm_leaves_no_ghost() -> None:
    """A stale handler's report about a VM of the last experiment does not keep the next one from starting."""
    stale = VmStateSet(server_uuid="old", state="configuring")
    ours = [VmAdded(server_uuid="new", server_name="new"), VmStateSet(server_uuid="new", state="configured")]
    old = VmAdded(server_uuid="old", server_name="old")
    for history in ([stale, *ours], [*ours, stale], [old, ExperimentCleared(), stale, *ours, stale]):
        barrier = _fold(*history)
        assert barrier.ready
        assert barrier.not_ready == set()
