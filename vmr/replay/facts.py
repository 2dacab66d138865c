"""What of a run can be run again: its VMs, resources and schedules as they were at its start, and what operators did after. A fold."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from vmr import events
from vmr.events import KnownBody, Recorded
from vmr.roster import RESOURCES
from vmr.schedule import Entry, ObjectRef

Origin: TypeAlias = Literal["launch", "start"]

_FOLDED: Final[tuple[type[KnownBody], ...]] = (
    events.VmAdded,
    events.VmRemoved,
    events.SchedulePublished,
    events.ScheduleRemoved,
    events.ResourceUploaded,
    events.ResourceRemoved,
    events.ExperimentCleared,
    events.ExperimentLaunched,
    events.ExperimentStarted,
    events.VmPaused,
    events.VmResumed,
    events.VmWaived,
    events.ExperimentPaused,
    events.ExperimentResumed,
)
TYPES: Final = tuple(body.type_name() for body in _FOLDED)
_HELD: Final = (
    events.VmPaused,
    events.VmResumed,
    events.VmWaived,
    events.ExperimentPaused,
    events.ExperimentResumed,
)


class Control(msgspec.Struct, frozen=True):
    """Something that an operator did: when, counted from the launch or the start, and what.

    Attributes:
        origin: what its time counts from: the start, or the launch for what came before the start.
        after: how long after that.
        body: a pause, a resume, a waiver, a new resource, or a schedule of which ``entries`` are new.
        entries: entries that were added to the schedule of ``body``.

    """

    origin: Origin
    after: timedelta
    body: KnownBody
    entries: tuple[Entry, ...] = ()


class Facts:
    """The fold of one run; events of schedules must have their entries in them (`vmr.eventlog.with_entries`).

    Attributes:
        vms: by uuid.
        schedules: by the VM's name.
        resources: by name.
        launched: the last report of the launch, None before it.
        start: the earliest report of the start, None before it.
        controls: what operators did, in order.

    """

    def __init__(self) -> None:
        self.vms: dict[str, events.VmAdded] = {}
        self.schedules: dict[str, events.SchedulePublished] = {}
        self.resources: dict[str, ObjectRef] = {}
        self.launched: events.ExperimentLaunched | None = None
        self.start: datetime | None = None
        self.controls: list[Control] = []
        self._launched_at: datetime | None = None
        self._entries: dict[str, set[str]] = {}

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event.body:
            case events.ExperimentLaunched() as launched:
                self.launched, self._launched_at = launched, recorded.event.time
            case events.ExperimentStarted(start_time=start) if self.start is None:
                self.start = start
            case events.ExperimentCleared(scope=scope):
                self._clear(scope)
            case events.SchedulePublished(store=events.DEFAULT_SCHEDULES) as schedule:
                self._scheduled(schedule, recorded.event.time)
            case events.ResourceUploaded(store=store, name=name, object=ref) as uploaded if store == RESOURCES:
                if self.start is None:
                    self.resources[name] = ref
                else:
                    self._control(uploaded, recorded.event.time)
            case body if isinstance(body, _HELD):
                self._control(body, recorded.event.time)
            case body if self.start is None:
                self._before_the_start(body)
            case _:
                pass

    def _before_the_start(self, body: KnownBody | events.Unknown) -> None:
        match body:
            case events.VmAdded(server_uuid=uuid):
                self.vms[uuid] = body
            case events.VmRemoved(server_uuid=uuid):
                self.vms.pop(uuid, None)
            case events.ScheduleRemoved(server_name=name, store=events.DEFAULT_SCHEDULES):
                self.schedules.pop(name, None)
            case events.ResourceRemoved(store=store, name=name) if store == RESOURCES:
                self.resources.pop(name, None)
            case _:
                pass

    def _scheduled(self, schedule: events.SchedulePublished, time: datetime) -> None:
        known = self._entries.setdefault(schedule.server_name, set())
        new = tuple(entry for entry in schedule.entries if entry.id not in known)
        known.update(entry.id for entry in new)
        if self.start is None:
            self.schedules[schedule.server_name] = schedule
        elif new:
            self._control(msgspec.structs.replace(schedule, entries=(), entries_object=None), time, new)

    def _control(self, body: KnownBody, time: datetime, entries: tuple[Entry, ...] = ()) -> None:
        if self.start is not None:
            self.controls.append(Control("start", time - self.start, body, entries))
        elif self._launched_at is not None:
            self.controls.append(Control("launch", time - self._launched_at, body, entries))

    def _clear(self, scope: tuple[str, ...]) -> None:
        if "vms" in scope:
            self.vms.clear()
        if "schedules" in scope:
            self.schedules.clear()
            self._entries.clear()
        if "times" in scope:
            self.launched = self.start = self._launched_at = None
            self.controls.clear()
