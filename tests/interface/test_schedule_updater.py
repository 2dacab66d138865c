"""`ScheduleUpdater` and its events: what gets into the queue, when, and in which order."""

from __future__ import annotations

import logging
import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.interface.in_force import use
from vmr import events
from vmr.events import Recorded
from vmr.log import Log
from vmr.schedule import ObjectRef
from vmr.schedule_db import ScheduleDb, encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_event import Priority, ScheduleEvent, ScheduleEventType
from vmr.schedule_feed import ScheduleFeed
from vmr.schedule_updater import Item, ScheduleUpdater
from vmr.settings import Settings

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
PATIENCE = 10.0


def program(at: float, name: str) -> ScheduleEntry:
    """Return an entry that runs a program."""
    entry = ScheduleEntry(at)
    entry.set_executable(f"/bin/{name}")
    return entry


def hold(at: float, duration: float = math.inf) -> ScheduleEntry:
    """Return a pause, or a break; also at time 0."""
    entry = ScheduleEntry(at or 1)
    entry.start_time = at
    entry.add_pause(duration)
    return entry


def resume() -> ScheduleEntry:
    """Return what ends a break."""
    entry = ScheduleEntry(-math.inf)
    entry.data.append({"resume": True})
    return entry


class History:
    """A log in memory, of one VM, and the feed that folds it."""

    def __init__(self) -> None:
        self.feed = ScheduleFeed("vm", "uuid")
        self.schedule: list[ScheduleEntry] = []
        self._sequence = 0

    def record(self, body: events.KnownBody, second: float = -60) -> History:
        """Fold an event of ``second``, relative to the start."""
        self._sequence += 1
        event = events.new_event(body, producer="test", time=START + timedelta(seconds=second))
        self.feed.apply(Recorded(sequence=self._sequence, stored=0, subject="", event=event))
        return self

    def publish(self, *entries: ScheduleEntry, second: float = -60) -> History:
        """Add entries to the schedule and fold it."""
        self.schedule += entries
        encode_schedule(self.schedule)
        typed = tuple(part for entry in self.schedule for part in entry.to_entries())
        return self.record(events.SchedulePublished(server_name="vm", entries=typed), second)

    def start(self) -> History:
        """Fold the start."""
        return self.record(events.ExperimentStarted(start_time=START), -30)

    def due(self) -> list[tuple[float, str]]:
        """Return priority and kind, or program, of what the queue has to hold, as a queue would give it."""
        waiting: list[tuple[float, ScheduleEvent]] = [
            (Priority(due.priority, serial), due.event) for serial, due in enumerate(self.feed.due().values())
        ]
        return [(float(priority), said(event)) for priority, event in sorted(waiting)]


def said(event: ScheduleEvent) -> str:
    """Return the name of the program that an event is about, or its kind."""
    data = event.get_data()
    if isinstance(data, ScheduleEntry) and data.executable is not None:
        return data.executable.removeprefix("/bin/")
    return event.get_type().name


def test_nothing_is_due_before_there_is_a_schedule() -> None:
    """An empty one is told at once."""
    history = History()
    assert history.due() == []
    assert history.publish().due() == [(-math.inf, "EMPTY_SCHEDULE")]


def test_entries_come_by_time_and_then_in_the_order_of_the_schedule() -> None:
    """The kinds are told apart; the start is at 0."""
    transfer = ScheduleEntry(-5)
    transfer.add_file_transfer("/var/log")
    history = History().publish(*(program(10, name) for name in "abcdef"), program(-5, "early"), transfer)
    expected = [(-5, "early"), (-5, "TRANSFER"), *((10, name) for name in "abcdef")]
    assert history.due() == expected
    history.start()
    expected.insert(2, (0, "EXPERIMENT_START_TIME_SET"))
    assert history.due() == expected


def test_a_pause_comes_after_its_time_and_moves_what_follows() -> None:
    """Whatever the order of the list; a second pause adds up (FIREWHEEL's own example, and its defect 15 absent)."""
    history = History().publish(program(10, "a"), hold(10, 60), program(10, "c"), program(30, "d"), hold(20, 5)).start()
    found = history.due()[1:]
    assert [name for _, name in found] == ["a", "c", "PAUSE", "PAUSE", "d"]
    assert [round(at, 6) for at, _ in found] == [10, 10, 10, 80, 95]


def test_a_pause_at_the_barrier_or_before_everything_is_accepted() -> None:
    """At 0 it moves all positive times; before everything, long before the start, it moves none of them."""
    assert History().publish(hold(0, 60), program(5, "a")).start().due()[1:] == [
        (pytest.approx(0), "PAUSE"),
        (65, "a"),
    ]
    history = History().publish(hold(-math.inf, 10), program(-5, "n"), program(5, "a")).start()
    assert history.due() == [(-math.inf, "PAUSE"), (-5, "n"), (0, "EXPERIMENT_START_TIME_SET"), (5, "a")]


def test_a_break_holds_what_follows_until_a_resume() -> None:
    """Then a time is its distance to the break after the resume (10/15/30/50 resumed at 1000: 1015, 1035)."""
    history = History().publish(program(10, "a"), hold(15), program(30, "b"), program(50, "c")).start()
    assert [name for _, name in history.due()] == ["EXPERIMENT_START_TIME_SET", "a", "PAUSE"]
    history.publish(resume(), second=1000)
    due = {name: round(at, 6) if at > 0 else at for at, name in history.due()}
    assert (due["a"], due["b"], due["c"], due["RESUME"]) == (10, 1015, 1035, -math.inf)


def test_an_operator_s_pause_of_the_vm_or_of_all_counts() -> None:
    """It moves what has not come yet."""
    history = History().publish(program(10, "a"), program(100, "b")).start()
    history.record(events.VmPaused(server_uuid="uuid", duration=5), 50)
    history.record(events.ExperimentPaused(), 70)
    assert [name for _, name in history.due()] == ["EXPERIMENT_START_TIME_SET", "a"]
    history.record(events.ExperimentResumed(), 90)
    assert {name: at for at, name in history.due()}["b"] == pytest.approx(125)


def test_a_break_before_everything_holds_the_configuration_too() -> None:
    """Until its resume."""
    history = History().publish(hold(-math.inf), program(-5, "n"), program(5, "p"))
    assert history.due() == [(-math.inf, "PAUSE")]
    history.publish(resume(), second=-50)
    assert [name for _, name in history.due()] == ["PAUSE", "RESUME", "n", "p"]


def test_clearing_forgets_and_another_namespace_is_not_seen() -> None:
    """A new run's schedule is new, also where it says the same."""
    history = History().publish(program(5, "a"))
    (before,) = history.feed.due()
    history.record(events.SchedulePublished(server_name="vm", store="drafts"))
    assert list(history.feed.due()) == [before]
    history.record(events.ExperimentCleared())
    assert history.due() == []
    (after,) = history.publish().feed.due()
    assert after != before


def test_bytes_that_are_no_schedule_end_it_with_a_word() -> None:
    """The event says how to encode one."""
    history = History()
    history.record(events.SchedulePublished(server_name="vm", opaque=ObjectRef("0" * 64, 1)))
    (due,) = history.feed.due().values()
    assert due.event.get_type() is ScheduleEventType.EXIT
    assert "vmr's encoding" in str(due.event.get_data())


def test_events_of_equal_priority_keep_their_order_in_a_queue() -> None:
    """However they were put: the order is that of their serials, and priorities are still numbers."""
    items = [(Priority(5, n), ScheduleEvent(ScheduleEventType.NEW_ITEM, n)) for n in range(50)]
    shuffled: queue.PriorityQueue[Item] = queue.PriorityQueue()
    for item in sorted(items, key=lambda item: (item[0].serial * 7) % 50):
        shuffled.put(item)
    assert [shuffled.get()[1].get_data() for _ in items] == list(range(50))
    assert Priority(5, 1) == 5
    assert Priority(5, 1) != Priority(5, 2)
    assert Priority(4, 9) < Priority(5, 1) < 6
    assert Priority(5, 2) > Priority(5, 1)
    assert hash(Priority(5, 1)) == hash(5.0)


def test_events_say_their_kind_and_data() -> None:
    """The kinds have FIREWHEEL's numbers, and an event is less than any other."""
    event = ScheduleEvent(ScheduleEventType.TRANSFER, "data")
    assert (event.get_type(), event.get_data()) == (ScheduleEventType.TRANSFER, "data")
    assert event < event  # noqa: PLR0124 - as documented
    assert {kind.name: kind.value for kind in ScheduleEventType} == {
        "EXPERIMENT_START_TIME_SET": 0,
        "EMPTY_SCHEDULE": 1,
        "NEW_ITEM": 2,
        "TRANSFER": 3,
        "EXIT": 4,
        "PAUSE": 5,
        "RESUME": 6,
        "UNKNOWN": 7,
    }


class Running:
    """A running updater, the queue that it fills, and the database that it follows."""

    def __init__(self, db: ScheduleDb, condition: threading.Condition) -> None:
        self.db = db
        self.queue: queue.PriorityQueue[Item] = queue.PriorityQueue()
        self.condition = condition
        config = {"vm_name": "vm", "vm_uuid": "uuid"}
        log = logging.getLogger("test")
        self.updater = ScheduleUpdater(config, self.queue, condition, None, db, None, log, "", 1.0)

    def put(self, *entries: ScheduleEntry) -> None:
        """Store a schedule."""
        self.db.put("vm", encode_schedule(entries), None)

    def until(self, done: Callable[[], Any]) -> None:
        """Wait, notified by the updater, until ``done`` says so."""
        with self.condition:
            assert self.condition.wait_for(done, PATIENCE)

    def names(self) -> list[str]:
        """Return what is in the queue, in order, without taking it out."""
        with self.queue.mutex:
            return [said(event) for _, event in sorted(self.queue.queue)]


@pytest.fixture(params=[threading.Condition, lambda: threading.Condition(threading.Lock())], ids=["rlock", "lock"])
def running(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Yield a running updater on a new, empty log."""
    use(settings, monkeypatch)
    with ScheduleDb() as db:
        made = Running(db, request.param())
        made.updater.start()
        yield made
        made.updater.stop_thread()
        made.updater.join(PATIENCE)
        assert not made.updater.is_alive()


def test_the_queue_follows_the_log(running: Running, settings: Settings) -> None:
    """What is put, added, moved, withdrawn and started is in the queue at once; what was taken out does not come again."""
    running.put(program(-5, "a"), program(10, "b"))
    running.until(lambda: running.names() == ["a", "b"])
    _, event = running.queue.get()
    assert said(event) == "a"
    running.db.append("vm", [program(-3, "late"), hold(5, 60)])
    running.until(lambda: running.names() == ["late", "PAUSE", "b"])
    assert max(running.queue.queue)[0] == 70
    with Log.connect(settings) as log:
        log.start(START)
    running.until(lambda: "EXPERIMENT_START_TIME_SET" in running.names())
    assert running.updater.get_start_time() == int(START.timestamp())
    running.put(program(-5, "a"), program(20, "c"))
    running.until(lambda: running.names() == ["EXPERIMENT_START_TIME_SET", "c"])
    running.db.destroy_all()
    running.until(lambda: running.names() == ["EXPERIMENT_START_TIME_SET"])


def test_a_change_is_in_the_queue_soon(running: Running) -> None:
    """Milliseconds, and not the seconds of a poll."""
    running.put()
    running.until(lambda: running.names() == ["EMPTY_SCHEDULE"])
    running.queue.get()
    began = time.monotonic()
    running.db.append("vm", [program(-100_000, "pushed")])
    running.until(lambda: running.names() == ["pushed"])
    assert time.monotonic() - began < 2


def test_who_holds_the_condition_may_ask_the_database(running: Running) -> None:
    """The updater waits for the condition, and nothing else of the process does."""
    with running.condition:
        running.put(program(-5, "a"))
        assert running.updater.get_start_time() is None
        assert [entry.executable for entry in running.updater.get_schedule("vm")] == ["/bin/a"]
    running.until(lambda: running.names() == ["a"])


def test_a_schedule_that_cannot_be_had_is_a_runtime_error(running: Running) -> None:
    """There is none, or it is a pickle, which is never loaded."""
    with pytest.raises(RuntimeError, match="none"):
        running.updater.get_schedule("nobody")
    running.db.put("old", pickle.dumps([]), None)
    with pytest.raises(RuntimeError, match="encode_schedule"):
        running.updater.get_schedule("old")


def test_events_of_one_s_own_are_put_in_order(running: Running) -> None:
    """After what is there with the same priority."""
    running.put(program(7, "a"))
    running.until(lambda: running.names() == ["a"])
    running.updater.enqueue_event(7, ScheduleEvent(ScheduleEventType.UNKNOWN, None))
    running.updater.enqueue_event(6, ScheduleEvent(ScheduleEventType.EXIT, None))
    assert running.names() == ["EXIT", "a", "UNKNOWN"]
    for _ in range(3):
        running.queue.get()
        running.queue.task_done()
    running.queue.join()


def test_an_error_ends_the_thread_and_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an EXIT event that carries it; nobody waits for ever."""
    use(settings, monkeypatch)
    with ScheduleDb() as db:
        made = Running(db, threading.Condition())

        def broken(_due: object) -> None:
            raise LookupError("broken")

        monkeypatch.setattr(made.updater, "_bring_in_step", broken)
        made.updater.start()
        _, event = made.queue.get(timeout=PATIENCE)
        assert event.get_type() is ScheduleEventType.EXIT
        assert isinstance(event.get_data(), LookupError)
        made.updater.join(PATIENCE)
        assert not made.updater.is_alive()


def test_it_can_be_stopped_at_any_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its start, right after it, and twice."""
    use(settings, monkeypatch)
    with ScheduleDb() as db:
        for _ in range(3):
            made = Running(db, threading.Condition())
            made.updater.stop_thread()
            made.updater.start()
            made.updater.join(PATIENCE)
            made.updater.stop_thread()
            assert not made.updater.is_alive()
