"""`ScheduleUpdater`: a thread that keeps a priority queue of schedule events in step with the log, as it changes."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from typing import Any, Final, Protocol, TypeAlias

from vmr.errors import InvalidInputError
from vmr.eventlog import with_entries
from vmr.events import DEFAULT_SCHEDULES, Recorded
from vmr.experiment_fold import ExperimentFold
from vmr.log import AsyncLog
from vmr.schedule_codec import decode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_event import Priority, ScheduleEvent, ScheduleEventType
from vmr.schedule_feed import Due, Key, ScheduleFeed
from vmr.settings import load_settings
from vmr.shared_log import SharedLog

Item: TypeAlias = tuple[float, ScheduleEvent]
_STOP_SECONDS: Final = 10.0


class Schedules(Protocol):
    """What is asked for schedules: `vmr.schedule_db.ScheduleDb` is one."""

    def get(self, server_name: str) -> bytes | None:
        """Return the encoded schedule of the VM of this name, None when it has none."""
        ...


class ScheduleUpdater(threading.Thread):
    """Puts what a VM has to do into a priority queue, as it becomes known.

    The queue gets pairs of a priority and a `ScheduleEvent`. The priority is a number: the entry's time, moved by the pauses and
    breaks before it, 0 for the start of the experiment, ``-math.inf`` for what is to be done at once. Events of equal priority come in
    the order in which they were put (see `Priority`). An entry whose time moves while it is still in the queue moves in the queue, and
    one that is withdrawn leaves it; what waits for the end of a break comes with the resume. What was taken out is not put again.

    The log is followed, so a change is in the queue within milliseconds, and nothing is polled.

    Args:
        config: of the VM: ``vm_name``, its name; optionally ``vm_uuid``, so that operators' pauses of this one VM count.
        priority_queue: where events are put. It must not be bounded.
        condition: is notified, and held, when the queue changes.
        vm_resource_store: kept as an attribute.
        schedule_db: where `get_schedule` looks.
        repository_db: kept as an attribute; this project has none.
        log: where to say what happens.
        log_filename: kept as an attribute.
        load_balance_factor: kept as an attribute: there are no sleeps to scale.
        interval_time: accepted, and without a meaning: it was the time between two looks at the schedule, and changes are pushed here.

    """

    def __init__(
        self,
        config: Mapping[str, Any],
        priority_queue: queue.PriorityQueue[Item],
        condition: threading.Condition,
        vm_resource_store: Any,
        schedule_db: Schedules,
        repository_db: Any,
        log: logging.Logger,
        log_filename: str,
        load_balance_factor: float,
        interval_time: float = 5,
    ) -> None:
        if not isinstance(config.get("vm_name"), str):
            raise InvalidInputError("config has no 'vm_name': give the VM's name, a string")
        super().__init__(name=f"schedule of {config['vm_name']}", daemon=True)
        self.config = config
        self.priority_queue = priority_queue
        self.condition = condition
        self.vm_resource_store = vm_resource_store
        self.schedule_db = schedule_db
        self.repository_db = repository_db
        self.log = log
        self.log_filename = log_filename
        self.load_balance_factor = load_balance_factor
        self.interval_time = interval_time
        store = getattr(schedule_db, "cache_name", DEFAULT_SCHEDULES)
        self._feed = ScheduleFeed(config["vm_name"], config.get("vm_uuid") or "", store)
        self._shared = SharedLog(load_settings())
        self._given: dict[Key, Item] = {}
        self._serial = 0
        self._arrived: queue.SimpleQueue[list[Recorded] | Exception | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._cancel: Callable[[], object] | None = None

    def run(self) -> None:
        """Keep the queue in step until `stop_thread`. An error ends it, and is said in the log and by an EXIT event."""
        try:
            self._run()
        except Exception as error:
            self.log.exception("the schedule of %s is not followed any more", self.config["vm_name"])
            self.enqueue_event(-math.inf, ScheduleEvent(ScheduleEventType.EXIT, error))
        finally:
            self._shared.close()

    def _run(self) -> None:
        """Fold what arrives from the log, and bring the queue in step with it, batch by batch."""
        reader = threading.Thread(target=self._read, name=f"{self.name}: reader", daemon=True)
        reader.start()
        while (arrived := self._arrived.get()) is not None and not self._stopping.is_set():
            if isinstance(arrived, Exception):
                raise arrived
            for recorded in arrived:
                self._feed.apply(recorded)
            self._bring_in_step(self._feed.due())
        reader.join(_STOP_SECONDS)

    def _read(self) -> None:
        """Hand over what the log has, and then what comes. The log's own thread never waits for who holds the condition."""
        try:
            self._shared.run(self._follow)
        except CancelledError:
            self._arrived.put(None)
        except Exception as error:  # noqa: BLE001 - it is the updater's, which ends with it
            self._arrived.put(error)

    async def _follow(self, log: AsyncLog) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._stopping.is_set():
            return
        last = await log.last_sequence()
        filters = self._feed.filters(log.db)
        history = [await with_entries(log, each) async for batch in log.read(filters, 1, last) for each in batch]
        self._arrived.put(history)
        async for batch in log.follow(filters, last + 1):
            self._arrived.put([await with_entries(log, recorded) for recorded in batch])

    def _bring_in_step(self, due: Mapping[Key, Due]) -> None:
        """Put what is new, take out what is gone, move what is due at another time."""
        with self.condition:
            gone = [key for key in self._given if key not in due]
            moved = [
                key for key, new in due.items() if key in self._given and float(self._given[key][0]) != new.priority
            ]
            taken = self._take_out([self._given[key][1] for key in (*gone, *moved)])
            for key in moved:
                if id(self._given[key][1]) in taken:
                    self._given[key] = self._put(due[key].priority, self._given[key][1])
            for key in gone:
                if id(self._given[key][1]) in taken:
                    del self._given[key]
            for key, new in due.items():
                if key not in self._given:
                    self._given[key] = self._put(new.priority, new.event)
            self.condition.notify_all()

    def _take_out(self, events: Sequence[ScheduleEvent]) -> set[int]:
        """Take ``events`` out of the queue; return the ids of those that were still in it."""
        wanted = {id(event) for event in events}
        with self.priority_queue.mutex:
            items = self.priority_queue.queue
            found = {id(item[1]) for item in items} & wanted
            if found:
                items[:] = [item for item in items if id(item[1]) not in found]
                heapq.heapify(items)
        for _ in found:
            self.priority_queue.task_done()
        return found

    def _put(self, priority: float, event: ScheduleEvent) -> Item:
        self._serial += 1
        item = (Priority(priority, self._serial), event)
        self.priority_queue.put_nowait(item)
        return item

    def enqueue_event(self, priority: float, event: ScheduleEvent) -> None:
        """Put one event into the queue and notify who waits; it comes after what is there with the same priority."""
        with self.condition:
            self._put(priority, event)
            self.condition.notify_all()

    def get_schedule(self, name: str) -> list[ScheduleEntry]:
        """Return the schedule of the VM of this name, as it is now.

        Raises `RuntimeError`, saying why, when there is none, it cannot be had, or it is not in vmr's encoding (a pickle is never
        loaded).
        """
        try:
            text = self.schedule_db.get(name)
            if text is not None:
                return decode_schedule(text)
        except Exception as error:
            raise RuntimeError(f"schedule of {name!r}: {error}") from error
        raise RuntimeError(f"schedule of {name!r}: there is none; put one with ScheduleDb.put")

    def get_start_time(self) -> int | None:
        """Return the start of the experiment in seconds since the epoch (UTC), None before it is known."""
        with closing(SharedLog(self._shared.settings)) as shared:
            state = shared.run(shared.kept(ExperimentFold).read)
        return None if state.start is None else int(state.start.timestamp())

    def stop_thread(self) -> None:
        """Have the thread end; what is in the queue stays there. Stopping twice, or before the start, does no harm."""
        self._stopping.set()
        if self._cancel is not None:
            self._cancel()
        self._arrived.put(None)
