"""The planner: FIREWHEEL's rules of time, order, barrier, pause, break, resume and reboot."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.driving import ORIGIN, Drive, entry, pause, resume
from vmr import events, planner
from vmr.schedule import Entry
from vmr.vm_state import MAX_ATTEMPTS, Attempt, BarrierState


def test_negative_times_are_barriers_in_order_of_time() -> None:
    """All entries of a time end before the next time begins, whatever their order in the schedule."""
    drive = Drive(entry(-5, "late"), entry(-10, "a"), entry(-10, "b"))
    drive.step()
    assert drive.order == ["-10/a", "-10/b"]
    drive.finish("-10/b")
    drive.step()
    assert drive.order == ["-10/a", "-10/b"], "one of the two still runs"
    drive.finish("-10/a", 1)
    drive.step()
    assert drive.order[2:] == ["-5/late"]
    assert drive.vm.state == "configuring"
    drive.finish("-5/late")
    drive.step()
    assert drive.vm.state == "configured"
    assert drive.vm.current_time == "-5"


def test_empty_schedule_is_configured_at_once_and_no_schedule_is_not() -> None:
    """A VM waits for its schedule; an empty one leaves nothing to configure."""
    drive = Drive()
    drive.step()
    assert drive.vm.state == "configured"
    waiting = Drive()
    waiting.record(events.VmRemoved(server_uuid="u"))
    waiting.record(events.ScheduleRemoved(server_name="vm"))
    waiting.record(events.VmAdded(server_uuid="u", server_name="vm"))
    waiting.step()
    assert waiting.vm.state == "uninitialized"


def test_positive_times_are_seconds_after_the_start() -> None:
    """Each entry is launched at its own time; none waits for another."""
    drive = Drive(entry(10), entry(1), entry(3.5))
    drive.step()
    assert drive.order == []
    drive.start(7)
    plan = drive.step()
    assert plan.wake == ORIGIN + timedelta(seconds=8)
    for moment in (8, 10.5, 17):
        drive.now = moment
        drive.step()
    assert drive.launched == [(8, "1/x"), (10.5, "3.5/x"), (17, "10/x")]


def test_entries_of_one_positive_time_keep_the_schedules_order() -> None:
    """Ties are launched in the order in which the schedule names them."""
    names = list("fbcaed")
    drive = Drive(*(entry(10, name) for name in names))
    drive.start()
    drive.run_to(11)
    assert drive.order == [f"10/{name}" for name in names]


def test_break_moves_what_follows_as_documented() -> None:
    """Entries at 10, 30, 50 and a break at 15 resumed at 1000: 30 runs at 1015, 50 at 1035."""
    drive = Drive(entry(10), entry(30), entry(50), pause(15, None, "break"))
    drive.start()
    drive.run_to(1000)
    assert drive.order == ["10/x"]
    drive.record(events.VmResumed(server_uuid="u"))
    drive.run_to(2000)
    assert drive.launched == [(10, "10/x"), (1015, "30/x"), (1035, "50/x")]


def test_pause_takes_effect_after_the_entries_of_its_second() -> None:
    """A pause among entries of its own time moves none of them, wherever it stands in the schedule."""
    drive = Drive(entry(10, "a"), entry(10, "b"), pause(10, 60), entry(10, "c"), entry(11, "d"))
    drive.start()
    drive.run_to(100)
    assert drive.launched == [(10, "10/a"), (10, "10/b"), (10, "10/c"), (71, "11/d")]


def test_pause_before_everything_delays_and_never_moves_negative_times() -> None:
    """A pause of 60 s at -inf holds the first entry for 60 s, and every negative entry still runs."""
    drive = Drive(pause("-inf", 60), entry(-60, "a"), entry(-50, "b"))
    drive.run_to(59)
    assert drive.order == []
    drive.run_to(61)
    assert drive.order == ["-60/a", "-50/b"]
    assert drive.vm.state == "configured"


def test_break_at_zero_lets_the_vm_be_configured_and_holds_the_rest() -> None:
    """The barrier is not held by a break at 0; the positive entries are."""
    drive = Drive(entry(-1, "a"), pause(0, None, "break"), entry(5, "b"))
    drive.run_to(1)
    assert drive.vm.state == "configured"
    drive.start(0)
    drive.run_to(100)
    assert drive.order == ["-1/a"]
    drive.append(resume())
    drive.run_to(200)
    assert drive.launched[1] == (105, "5/b")


def test_two_breaks_need_two_resumes() -> None:
    """A break that is reached while another holds takes its turn after it."""
    drive = Drive(pause(10, None, "one"), pause(10, None, "two"), entry(11))
    drive.start()
    drive.run_to(50)
    drive.append(resume("r1"))
    drive.run_to(60)
    assert drive.order == []
    drive.append(resume("r2"))
    drive.run_to(100)
    assert drive.launched == [(61, "11/x")]


def test_resume_without_a_break_has_no_effect() -> None:
    """A resume that comes before its break, or during a finite pause, changes nothing."""
    drive = Drive(resume(), pause(10, None, "break"), pause(5, 10), entry(8, "a"), entry(12, "b"))
    drive.start()
    drive.run_to(7)
    drive.record(events.VmResumed(server_uuid="u"))
    drive.run_to(500)
    assert drive.launched == [(18, "8/a")]


def test_pause_added_later_moves_entries_that_wait() -> None:
    """A pause that arrives before it is reached holds what follows it."""
    drive = Drive(entry(20))
    drive.start()
    drive.run_to(5)
    drive.append(pause(10, 30))
    drive.run_to(100)
    assert drive.launched == [(50, "20/x")]


def test_operator_pauses_and_resumes_all_vms() -> None:
    """A pause of the experiment takes effect at once and lasts until the resume."""
    drive = Drive(entry(20))
    drive.start()
    drive.run_to(5)
    drive.record(events.ExperimentPaused())
    drive.run_to(105)
    drive.record(events.ExperimentResumed())
    drive.run_to(200)
    assert drive.launched == [(120, "20/x")]


def test_late_entries_run_at_once_and_nothing_twice() -> None:
    """An entry appended after its time runs when it arrives; what ran is not run again."""
    drive = Drive(entry(-5, "a"), entry(2, "b"))
    drive.run_to(1)
    drive.start()
    drive.run_to(10)
    drive.append(entry(-100000, "pushed"), entry(3, "late"))
    drive.run_to(20)
    assert drive.order == ["-5/a", "2/b", "-100000/pushed", "3/late"]
    assert drive.vm.state == "configured"


def test_late_entry_acts_during_a_break() -> None:
    """An operator's entry in the past does not wait for the break to end."""
    drive = Drive(pause(5, None, "break"), entry(10))
    drive.start()
    drive.run_to(50)
    drive.append(entry(-100000, "pushed"))
    drive.run_to(60)
    assert drive.order == ["-100000/pushed"]


def test_withdrawn_entries_do_not_run_and_replaced_ones_run_as_replaced() -> None:
    """A shorter schedule withdraws, a longer one adds; identities decide, not positions."""
    drive = Drive(entry(1, "a"), entry(5, "b"), entry(6, "c"))
    drive.start()
    drive.run_to(2)
    drive.publish(entry(6, "c"), entry(7, "d"))
    drive.run_to(10)
    assert drive.order == ["1/a", "6/c", "7/d"]


def test_reboot_runs_only_the_requesters_again() -> None:
    """When the whole time is done the guest is rebooted once; who asked runs again, and then the next time begins."""
    drive = Drive(entry(-10, "a"), entry(-10, "b"), entry(-5, "c"))
    drive.step()
    drive.finish("-10/a", 10, reboot=True)
    drive.step()
    assert not any(isinstance(body, events.VmRebooted) for body in drive.log)
    drive.finish("-10/b")
    drive.step()
    assert drive.order == ["-10/a", "-10/b", "-10/a"]
    drive.finish("-10/a")
    drive.step()
    assert drive.order[-1] == "-5/c"
    assert sum(isinstance(body, events.VmRebooted) for body in drive.log) == 1


def test_reboots_are_bounded() -> None:
    """An entry that asks for a reboot every time fails its VM in the end."""
    drive = Drive(entry(-10, "a"))
    for _ in range(MAX_ATTEMPTS):
        drive.step()
        drive.finish("-10/a", 10, reboot=True)
    drive.step()
    assert drive.vm.state == "failed"
    assert len(drive.order) == MAX_ATTEMPTS


def test_reboot_asked_in_positive_time() -> None:
    """When the entries of that time are done the guest is rebooted, and who asked runs again; other times go on meanwhile."""
    drive = Drive(entry(1, "a"), entry(1, "b"), entry(2, "c"))
    drive.start()
    drive.now = 2
    drive.step()
    drive.finish("1/a", 10, reboot=True)
    drive.step()
    assert drive.order == ["1/a", "1/b", "2/c"]
    drive.finish("1/b")
    drive.step()
    assert drive.order == ["1/a", "1/b", "2/c", "1/a"]
    drive.finish("1/a")
    drive.finish("2/c")
    drive.step()
    assert planner.complete(drive.vm)


def test_retries_keep_a_growing_distance_and_end() -> None:
    """An entry with two retries runs three times when it goes on failing, 1 and 2 seconds apart, and fails its VM if it says so."""
    again = Entry(id="x", start_time=-5, executable="x", retries=2, nonzero_fails=True)
    drive = Drive(again, entry(-1))
    times = []
    for moment in range(10):
        drive.now = moment / 2
        drive.step()
        if drive.vm.entries["x"].running:
            times.append(drive.now)
            drive.finish("x", 1)
    drive.step()
    assert times == [0, 1, 3]
    assert drive.vm.state == "failed"
    assert drive.vm.reason == "entry 'x' ended with exit code 1"


def test_a_retry_that_succeeds_lets_the_schedule_go_on() -> None:
    """The next time waits for the retries, and begins when one is good."""
    drive = Drive(Entry(id="x", start_time=-5, executable="x", retries=5, nonzero_fails=True), entry(-1))
    drive.step()
    drive.finish("x", 1)
    assert drive.step().wake == ORIGIN + timedelta(seconds=1)
    drive.now = 1
    drive.step()
    drive.finish("x", 0)
    drive.step()
    assert drive.order == ["x", "x", "-1/x"]


@pytest.mark.parametrize(
    ("rule", "launches", "state"), [("continue", 1, "configured"), ("fail", 1, "failed"), ("again", 2, "configured")]
)
def test_lost_attempts_follow_the_entrys_rule(rule: str, launches: int, state: str) -> None:
    """By default the schedule goes on without it; it can run again, or fail its VM."""
    drive = Drive(Entry(id="x", start_time=-5, executable="x", when_lost=rule))  # type: ignore[arg-type]
    drive.step()
    drive.record(events.EntryLost(server_uuid="u", entry="x", attempt=1, reason="reset"))
    drive.now = 5
    drive.step()
    if drive.vm.entries["x"].running:
        drive.finish("x")
        drive.step()
    assert len(drive.order) == launches
    assert drive.vm.state == state


def test_a_failed_vm_can_be_waived_by_rule() -> None:
    """With failed_vms: waive a VM that fails before the start no longer holds the barrier; without, it does."""
    for rule, ready in (("wait", False), ("waive", True)):
        drive = Drive(entry(-5))
        drive.record(events.ExperimentLaunched(launch_time=ORIGIN, failed_vms=rule))  # type: ignore[arg-type]
        drive.step()
        drive.record(events.VmStateSet(server_uuid="u", state="failed", reason="why"))
        drive.step()
        barrier = BarrierState()
        for number, body in enumerate(drive.log):
            barrier.apply(drive.recorded(number, body))
        assert barrier.ready is ready


@pytest.mark.parametrize(("ignore", "state"), [(False, "failed"), (True, "configured")])
def test_entry_that_cannot_be_launched(ignore: bool, state: str) -> None:  # noqa: FBT001
    """It fails its VM, unless the entry says that this may be; nothing more is launched on a failed VM."""
    bad = Entry(id="bad", start_time=-10, executable="x", ignore_failure=ignore)
    drive = Drive(bad, entry(5))
    drive.step()
    drive.record(events.EntryFailed(server_uuid="u", entry="bad", attempt=1, error="no such file"))
    drive.start()
    drive.run_to(10)
    assert drive.vm.state == state
    assert drive.order[1:] == (["5/x"] if ignore else [])


def test_nonzero_exit_fails_nothing() -> None:
    """A program's exit code is recorded, not judged."""
    drive = Drive(entry(-10))
    drive.step()
    drive.finish("-10/x", 127)
    drive.step()
    assert drive.vm.state == "configured"


def test_nothing_is_launched_after_the_end() -> None:
    """Once the run is called ended, what is due stays undone."""
    drive = Drive(entry(5))
    drive.start()
    drive.record(events.ExperimentEnded())
    drive.run_to(100)
    assert drive.order == []


def test_clashing_names_get_folders_of_their_own() -> None:
    """Entries of one time and program work in ``name``, ``name_1``, ``name_2``."""
    drive = Drive(*(entry(1, "x", identity) for identity in "abc"))
    assert [state.path for state in drive.vm.entries.values()] == ["1/x", "1/x_1", "1/x_2"]


def test_output_offsets_are_folded() -> None:
    """The fold knows from which byte of an attempt's output to go on."""
    drive = Drive(entry(-1))
    drive.step()
    drive.record(
        events.OutputCaptured(
            server_uuid="u", entry="-1/x", attempt=1, stream="stderr", offset=0, size=7, text="warning"
        )
    )
    assert drive.vm.entries["-1/x"].attempts == [Attempt(1, started=ORIGIN, stderr=7)]


_times = st.one_of(st.integers(-5, -1), st.integers(1, 30))
_pauses = st.tuples(st.integers(0, 30), st.integers(1, 20))


@given(st.lists(_times, max_size=12), st.lists(_pauses, max_size=4))
def test_every_entry_runs_once_and_in_order(times: list[int], pauses: list[tuple[int, int]]) -> None:
    """Whatever the schedule: each entry once, negative ones in order of time, positive ones at time plus the pauses before it."""
    entries = [entry(time, f"p{index}") for index, time in enumerate(times)]
    holds = [pause(at, length, f"pause {index}") for index, (at, length) in enumerate(pauses)]
    drive = Drive(*entries, *holds)
    drive.run_to(1)
    drive.start()
    drive.run_to(math.fsum([1.0, 31.0, *(length for _, length in pauses)]))
    assert sorted(drive.order) == sorted(each.id for each in entries)
    when = {identity: moment for moment, identity in drive.launched}
    for each in entries:
        if each.time > 0:
            expected = 1 + each.time + sum(length for at, length in pauses if at < each.time)
            assert when[each.id] == pytest.approx(expected, abs=1e-4)
    negative = [drive.vm.entries[identity].entry.time for identity in drive.order]
    assert [time for time in negative if time < 0] == sorted(time for time in negative if time < 0)


def test_a_hold_that_is_withdrawn_as_it_begins_holds_nothing_and_ends() -> None:
    """The withdrawal is recorded just before the handler's event: the hold must not stay open for ever."""
    drive = Drive(pause(1, None), entry(2, "after"))
    drive.start()
    drive.now = 1.0
    drive.publish(entry(2, "after"))
    drive.record(events.EntryStarted(server_uuid="u", entry="pause", attempt=1, name="break", start_time="1"))
    drive.run_to(3.0)
    assert drive.vm.entries["pause"].concluded
    assert drive.order == ["2/after"]
