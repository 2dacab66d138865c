"""What a VM's queue of schedule events has to hold, by what the log says. Pure.

Entries are given to the queue when they become known, with the time at which they are due as priority. Pauses and breaks move that
time by the rules of `vmr.timeline`; what waits for the end of a break is not given before a resume is known. The same log gives
the same events in the same order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from vmr.events import (
    DEFAULT_SCHEDULES,
    ExperimentCleared,
    Recorded,
    SchedulePublished,
    ScheduleRemoved,
    VmPaused,
    VmResumed,
    VmStateSet,
)
from vmr.planner import timeline_of
from vmr.schedule import Entry
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_event import ScheduleEvent, ScheduleEventType
from vmr.subjects import entity_subject
from vmr.timeline import Interval, Timeline
from vmr.vm_state import EntryState, ExperimentState, VmState

Key: TypeAlias = tuple[int, str]
"""What tells one event of a queue from all others: the run that it belongs to, and what it is about."""


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Due(msgspec.Struct, frozen=True):
    """An event for the queue, with its priority: seconds after the start, or an order before it."""

    priority: float
    event: ScheduleEvent


class ScheduleFeed:
    """The fold of one VM's schedule and of the experiment's times.

    Args:
        server_name: name of the VM.
        server_uuid: its uuid, where operators' pauses of this one VM count as well; or empty.
        store: the namespace of its schedule.

    """

    def __init__(self, server_name: str, server_uuid: str = "", store: str = DEFAULT_SCHEDULES) -> None:
        self._name = server_name
        self._uuid = server_uuid
        self._store = store
        self._run = 0
        self._vm = VmState(server_uuid, server_name)
        self._experiment = ExperimentState()
        self._latest = _EPOCH

    def filters(self, db: str) -> list[str]:
        """Return the subject filters of what this fold has to see."""
        filters = [
            entity_subject(db, "schedule", self._name, ">"),
            entity_subject(db, "experiment", None, ">"),
        ]
        about_vm = (VmPaused, VmResumed, VmStateSet) if self._uuid else ()
        return filters + [entity_subject(db, "vm", self._uuid, body.type_name().partition(".")[2]) for body in about_vm]

    def apply(self, recorded: Recorded) -> None:
        """Fold one event; a schedule has its entries in it (see `vmr.eventlog.with_entries`)."""
        body = recorded.event.body
        if isinstance(body, SchedulePublished | ScheduleRemoved) and body.store != self._store:
            return
        self._latest = max(self._latest, recorded.event.time)
        if recorded.event.type.startswith("experiment."):
            self._experiment.apply(recorded)
            if isinstance(body, ExperimentCleared) and "schedules" in body.scope:
                self._vm = VmState(self._uuid, self._name)
                self._run = recorded.sequence
        else:
            self._vm.apply(recorded)

    @property
    def start(self) -> datetime | None:
        """The start of the experiment (UTC), None before it is known."""
        return self._experiment.start

    def due(self) -> dict[Key, Due]:
        """Return what the queue has to hold, were nothing of it taken out, in the order in which equal priorities come."""
        if self._vm.refused:
            error = RuntimeError(f"VM {self._name!r}: {self._vm.refused}")
            return {(self._run, "refused"): Due(-math.inf, ScheduleEvent(ScheduleEventType.EXIT, error))}
        found = dict(self._start())
        entries = [state for state in self._vm.entries.values() if not state.withdrawn]
        if self._vm.scheduled and not entries:
            found[(self._run, "empty")] = Due(-math.inf, ScheduleEvent(ScheduleEventType.EMPTY_SCHEDULE, None))
        timeline = self._timeline()
        for state in entries:
            priority = _priority(state, timeline)
            if priority < math.inf:
                found[(self._run, f"entry {state.entry.id}")] = Due(priority, _event(state.entry))
        return found

    def _start(self) -> Iterable[tuple[Key, Due]]:
        if self.start is not None:
            seconds = int(self.start.timestamp())
            key = (self._experiment.cleared, f"start {seconds}")
            yield key, Due(0.0, ScheduleEvent(ScheduleEventType.EXPERIMENT_START_TIME_SET, seconds))

    def _timeline(self) -> Timeline:
        # Before the start is known its holds are placed as if it were now: they count from it, whenever it will be.
        experiment = dataclasses.replace(self._experiment, start=self._experiment.start or self._latest)
        # Whoever takes events from the queue is at work already: holds before everything begin when they arrive.
        vm = dataclasses.replace(self._vm, configuring_since=self._vm.configuring_since or _EPOCH)
        return timeline_of(vm, experiment, self._latest)


def _priority(state: EntryState, timeline: Timeline) -> float:
    """Return when an entry is due, ``inf`` while a break lies before it. Holds come after the entries of their own time."""
    time = state.entry.time
    if state.entry.resume:
        return -math.inf
    if state.entry.pause is not None:
        begins = [interval.begin for interval in timeline.intervals if interval.entry == state.entry.id]
        return time if time == -math.inf else math.nextafter(min(begins, default=math.inf), math.inf)
    if time > 0:
        return timeline.due(time)
    return math.inf if any(_bars(interval, state) for interval in timeline.intervals) else time


def _bars(interval: Interval, state: EntryState) -> bool:
    """Whether a break before everything, without an end, holds an entry of the configuration."""
    return interval.position == -math.inf and interval.end == math.inf and interval.entry != state.entry.id


def _event(entry: Entry) -> ScheduleEvent:
    kinds = {
        ScheduleEventType.RESUME: entry.resume,
        ScheduleEventType.PAUSE: entry.pause is not None,
        ScheduleEventType.TRANSFER: entry.transfer is not None,
        ScheduleEventType.NEW_ITEM: True,
    }
    kind = next(kind for kind, it_is in kinds.items() if it_is)
    return ScheduleEvent(kind, ScheduleEntry.from_entry(entry))
