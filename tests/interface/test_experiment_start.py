"""`ExperimentStart`: one start for everybody, whoever reports how many."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from vmr.events import ExperimentLaunched, ExperimentStarted
from vmr.experiment_start import ExperimentStart
from vmr.log import Log
from vmr.settings import Settings


@pytest.fixture
def start(in_force: Settings) -> Iterator[ExperimentStart]:
    """Yield the times of the test's database: none yet. No projector is needed for them."""
    with ExperimentStart() as made:
        assert made.db == in_force.db
        yield made


def test_nothing_is_known_before_it_is_reported(start: ExperimentStart) -> None:
    """Every question is answered with None."""
    assert start.get_start_time() is start.get_launch_time() is None
    assert start.get_time_to_start() is start.get_time_since_start() is None


def test_the_start_is_sixty_seconds_ahead(start: ExperimentStart) -> None:
    """It is aware, in UTC and whole seconds, and what is returned is what everybody reads."""
    before = datetime.now(UTC)
    reported = start.add_start_time()
    assert reported.utcoffset() == timedelta(0)
    assert reported.microsecond == 0
    assert before + timedelta(seconds=59) <= reported <= datetime.now(UTC) + timedelta(seconds=60)
    assert start.get_start_time() == ExperimentStart().get_start_time() == reported
    assert start.get_time_since_start() in {-60, -59, -58}


def test_the_first_report_stays(start: ExperimentStart, in_force: Settings) -> None:
    """Later reports return the first one and leave no event; an event of another kind of reporter changes nothing."""
    first = start.add_start_time()
    assert start.add_start_time() == ExperimentStart().add_start_time() == first
    with Log.connect(in_force) as log:
        log.start(first - timedelta(hours=1))
        assert start.get_start_time() == start.add_start_time() == first
        assert log.last_sequence() == 2


def test_the_buffer_is_a_setting(in_force: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`experiment_start_buffer_sec` seconds lie between report and start."""
    assert in_force.experiment_start_buffer_sec == 60
    monkeypatch.setenv("VMR_EXPERIMENT_START_BUFFER_SEC", "3600")
    reported = ExperimentStart().add_start_time()
    assert timedelta(seconds=3590) < reported - datetime.now(UTC) <= timedelta(hours=1)


def test_a_launch_overwrites_the_one_before(start: ExperimentStart, in_force: Settings) -> None:
    """The last launch counts, in whole seconds; what else is known of the launched experiment stays."""
    with Log.connect(in_force) as log:
        log.launch("lab", launch_time=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), start_buffer=7.0)
        assert start.get_launch_time() == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        launched = start.set_launch_time()
        assert start.get_launch_time() == launched > datetime.now(UTC) - timedelta(seconds=5)
        (last,) = [recorded for batch in log.read(start=2) for recorded in batch]
        assert last.event.body == ExperimentLaunched(launch_time=launched, name="lab", start_buffer=7.0)


def test_clearing_begins_anew(start: ExperimentStart) -> None:
    """Clearing returns {}, forgets launch and start, and the next report counts; clearing twice is no error."""
    start.set_launch_time()
    first = start.add_start_time()
    assert start.get_time_to_start() in {59, 60}
    assert start.clear_start_time() == start.clear_start_time() == {}
    assert [start.get_start_time(), start.get_launch_time(), start.get_time_to_start()] == [None, None, None]
    second = start.add_start_time()
    assert start.get_start_time() == second >= first


def test_other_parts_are_cleared_without_the_times(start: ExperimentStart, in_force: Settings) -> None:
    """Clearing the VMs keeps the start; clearing everything does not."""
    first = start.add_start_time()
    with Log.connect(in_force) as log:
        log.clear(["vms", "schedules"])
        assert start.get_start_time() == first
        log.clear()
        assert start.get_start_time() is None


def test_seconds_since_a_start_that_was(start: ExperimentStart, in_force: Settings) -> None:
    """Seconds count from launch to start and from the start to now, as integers."""
    now = datetime.now(UTC)
    with Log.connect(in_force) as log:
        log.launch(launch_time=now - timedelta(seconds=100))
        log.start(now - timedelta(seconds=40))
    assert start.get_time_since_start() in {40, 41, 42}
    assert start.get_time_to_start() in {59, 60, 61}
    assert type(start.get_time_since_start()) is type(start.get_time_to_start()) is int


def test_two_hundred_threads_agree(start: ExperimentStart, in_force: Settings) -> None:
    """Threads with objects of their own are told one start: the earliest start event in the log."""
    with ThreadPoolExecutor(200) as pool:
        told = set(pool.map(lambda _: ExperimentStart().add_start_time(), range(200)))
    with Log.connect(in_force) as log:
        bodies = [recorded.event.body for batch in log.read() for recorded in batch]
    assert told == {start.get_start_time()}
    assert bodies == [ExperimentStarted(start_time=told.pop())]


SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from vmr.experiment_start import ExperimentStart
times = [ExperimentStart() for _ in range(8)]
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
with ThreadPoolExecutor(8) as pool:
    told = {str(time) for time in pool.map(lambda start: start.add_start_time(), times)}
sys.stdout.write("told " + " and ".join(told) + "\\n")
"""


def test_processes_agree(start: ExperimentStart) -> None:
    """Four processes of eight threads that all report at once are told the same start."""
    command = [sys.executable, "-c", SCRIPT]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = {process.communicate(timeout=30)[0] for process in processes}
    assert outputs == {f"told {start.get_start_time()}\n"}
