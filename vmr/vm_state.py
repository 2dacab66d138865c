"""What the log says of one VM and of the experiment: folds from events to state. Pure.

A fold never asks for the time and never fails: an event that contradicts the state it meets is left without effect here, and the
read model lists it as an anomaly. The planner (`vmr.planner`) decides from these states what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from vmr import events
from vmr.events import Recorded
from vmr.schedule import Entry, format_time

AttemptStatus: TypeAlias = Literal["running", "finished", "failed", "lost"]
MAX_ATTEMPTS = 16
"""Attempts of an entry that asks for a reboot each time, or is lost each time; it could go on for ever."""
LONGEST_RETRY_PAUSE = 60.0
"""Seconds between attempts double from one up to this."""
READY_STATES = frozenset({"configured", "n/a"})
"""States that let the experiment start, in lower case (the seed writes ``N/A``)."""


@dataclass(slots=True)
class Attempt:
    """One execution of an entry: its number, how it stands, since when (UTC), and how many bytes of its output are recorded."""

    number: int
    status: AttemptStatus = "running"
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    reboot: bool = False
    stdout: int = 0
    stderr: int = 0

    @property
    def bad(self) -> bool:
        """Whether the program ended with a nonzero exit code that is no request for a reboot."""
        return self.status == "finished" and bool(self.exit_code) and not self.reboot


@dataclass(slots=True)
class EntryState:
    """One entry of the schedule, where it works in the guest, and what became of it.

    Attributes:
        entry: the entry as first published, or as last replaced before it ran.
        path: its place under the launch root, ``<time>/<name>``.
        arrival: when it became part of the schedule, or was changed where that matters (UTC).
        withdrawn: whether a later schedule leaves it out.
        attempts: its executions, in order.
        rebooted: whether the guest has been rebooted for its last attempt, which then runs again.

    """

    entry: Entry
    path: str
    arrival: datetime
    withdrawn: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    rebooted: bool = False

    @property
    def running(self) -> bool:
        """Whether an attempt has started and nothing says how it ended."""
        return bool(self.attempts) and self.attempts[-1].status == "running"

    @property
    def wants_reboot(self) -> bool:
        """Whether the last attempt asks for a reboot that has not happened."""
        return bool(self.attempts) and self.attempts[-1].reboot and not self.rebooted

    @property
    def wants_again(self) -> bool:
        """Whether the last attempt is over and the entry's rules give it another one."""
        if not self.attempts:
            return False
        last = self.attempts[-1]
        if last.reboot:
            return self.rebooted
        if last.status == "lost":
            return self.entry.when_lost == "again" and len(self.attempts) < MAX_ATTEMPTS
        return last.bad and sum(each.bad for each in self.attempts) <= self.entry.retries

    @property
    def concluded(self) -> bool:
        """Whether nothing is left to do for it."""
        if not self.attempts:
            return self.withdrawn
        return not (self.running or self.wants_reboot or self.wants_again)

    @property
    def next_attempt(self) -> int | None:
        """The number of the attempt to launch, or None when none is."""
        if not self.attempts:
            return None if self.withdrawn else 1
        return len(self.attempts) + 1 if self.wants_again else None

    def due_again(self) -> datetime | None:
        """Return before which time (UTC) the next attempt is not to be launched: retries keep a growing distance."""
        last = self.attempts[-1]
        if last.reboot or last.ended is None:
            return None
        return last.ended + timedelta(seconds=min(LONGEST_RETRY_PAUSE, 2.0 ** (len(self.attempts) - 1)))


@dataclass(slots=True)
class Command:
    """An operator's pause (seconds, or None for a break), recorded at a time."""

    at: datetime
    duration: float | None


@dataclass(slots=True)
class ExperimentState:
    """What the log says of the experiment as a whole.

    Attributes:
        launched: the launch, or None before it.
        start: the earliest reported start time of this run (UTC), or None.
        ended: whether the run was called ended.
        cleared: sequence of the event that last cleared the times, or 0.
        pauses: operators' pauses of all VMs.
        resumes: when operators resumed all VMs.

    """

    launched: events.ExperimentLaunched | None = None
    start: datetime | None = None
    ended: bool = False
    cleared: int = 0
    pauses: list[Command] = field(default_factory=list)
    resumes: list[datetime] = field(default_factory=list)

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event.body:
            case events.ExperimentLaunched() as launched:
                self.launched, self.ended = launched, False
            case events.ExperimentStarted(start_time=start):
                if self.start is None:
                    self.start = start
            case events.ExperimentEnded():
                self.ended = True
            case events.ExperimentPaused(duration=duration):
                self.pauses.append(Command(recorded.event.time, duration))
            case events.ExperimentResumed():
                self.resumes.append(recorded.event.time)
            case events.ExperimentCleared(scope=scope) if "times" in scope:
                self.launched, self.start, self.ended, self.cleared = None, None, False, recorded.sequence
                self.pauses.clear()
                self.resumes.clear()
            case _:
                pass


@dataclass(slots=True)
class VmState:
    """What the log says of one VM.

    Attributes:
        uuid: the VM's uuid.
        name: its name; its schedule is found by it.
        added: whether it is part of the experiment.
        run: identifies its part in this run: the id of the event that first added it.
        agent: where its agent listens, or None when no handler serves it.
        state: its state as last set.
        reason: why it is in its state, where that was said.
        current_time: the VM time as last ticked.
        configuring_since: when it first entered ``configuring`` (UTC), or None.
        handler: the handler that has it, or None.
        scheduled: whether a schedule has been published; an empty one counts.
        refused: why its schedule cannot be followed, or empty.
        entries: by id, in the order of the schedule and then of arrival.
        pauses: operators' pauses of this VM.
        resumes: when operators resumed this VM.
        boot_id: identity of the guest's last known boot, or empty.
        waived: whether the experiment does not wait for it.
        sequence: the last event folded.

    """

    uuid: str
    name: str = ""
    added: bool = False
    run: str = ""
    agent: events.AgentAddress | None = None
    state: str = "uninitialized"
    reason: str = ""
    current_time: str = ""
    configuring_since: datetime | None = None
    handler: str | None = None
    scheduled: bool = False
    refused: str = ""
    entries: dict[str, EntryState] = field(default_factory=dict)
    pauses: list[Command] = field(default_factory=list)
    resumes: list[datetime] = field(default_factory=list)
    boot_id: str = ""
    waived: bool = False
    sequence: int = 0

    def apply(self, recorded: Recorded) -> None:
        """Fold one event about this VM or its schedule."""
        self.sequence = max(self.sequence, recorded.sequence)
        body = recorded.event.body
        match body:
            case events.VmAdded():
                self._added(body, recorded.event.id)
            case events.VmRemoved():
                self.added, self.run = False, ""
            case events.VmStateSet(state=state, reason=reason):
                self.state, self.reason = state, reason
                if state == "configuring" and self.configuring_since is None:
                    self.configuring_since = recorded.event.time
            case events.VmWaived():
                self.waived = True
            case events.VmTimeTicked(current_time=current_time):
                self.current_time = current_time
            case events.VmPaused(duration=duration):
                self.pauses.append(Command(recorded.event.time, duration))
            case events.VmResumed():
                self.resumes.append(recorded.event.time)
            case events.SchedulePublished():
                self._schedule(body, recorded.event.time)
            case events.ScheduleRemoved():
                self.scheduled = False
                self._withdraw(set())
            case _:
                self._handling(recorded)

    def _added(self, body: events.VmAdded, event_id: str) -> None:
        self.run = self.run or event_id
        self.name, self.agent, self.added = body.server_name, body.agent, True
        self.state, self.current_time, self.waived = body.state, body.current_time, False

    def _handling(self, recorded: Recorded) -> None:
        body = recorded.event.body
        match body:
            case events.HandlerAttached(handler=handler):
                self.handler = handler
            case events.HandlerDetached(handler=handler):
                self.handler = None if self.handler == handler else self.handler
            case events.VmRebooted():
                self._rebooted(body)
            case _:
                self._attempt(body, recorded.event.time)

    def _attempt(self, body: events.KnownBody | events.Unknown, at: datetime) -> None:
        match body:
            case events.EntryStarted(entry=entry, attempt=number, boot_id=boot_id):
                self.boot_id = boot_id or self.boot_id
                self._started(entry, number, at)
            case events.OutputCaptured():
                self._output(body)
            case events.EntryFinished():
                self._conclude(body, "finished", at, exit_code=body.exit_code, reboot=body.reboot)
            case events.EntryFailed():
                self._started(body.entry, body.attempt, at)  # a failure before the launch has no started event
                self._conclude(body, "failed", at)
            case events.EntryLost():
                self._conclude(body, "lost", at)
            case _:
                pass

    def _started(self, entry: str, number: int, at: datetime) -> None:
        state = self.entries.get(entry)
        if state is not None and number == len(state.attempts) + 1:
            state.attempts.append(Attempt(number, started=at))
            state.rebooted = False

    def _output(self, body: events.OutputCaptured) -> None:
        attempt = self._find(body.entry, body.attempt)
        if attempt is not None:
            setattr(attempt, body.stream, max(getattr(attempt, body.stream), body.offset + body.size))

    def _conclude(
        self,
        body: events.EntryFinished | events.EntryFailed | events.EntryLost,
        status: AttemptStatus,
        at: datetime,
        *,
        exit_code: int | None = None,
        reboot: bool = False,
    ) -> None:
        attempt = self._find(body.entry, body.attempt)
        if attempt is not None and attempt.status == "running":
            attempt.status, attempt.ended, attempt.exit_code, attempt.reboot = status, at, exit_code, reboot

    def _find(self, entry: str, number: int) -> Attempt | None:
        state = self.entries.get(entry)
        return state.attempts[number - 1] if state is not None and number <= len(state.attempts) else None

    def _rebooted(self, body: events.VmRebooted) -> None:
        self.boot_id = body.boot_id
        for entry in body.entries:
            if entry in self.entries:
                self.entries[entry].rebooted = True

    def _schedule(self, body: events.SchedulePublished, at: datetime) -> None:
        self.scheduled = True
        self.refused = (
            "" if body.opaque is None else "its schedule is not in vmr's encoding: publish entries, or import it"
        )
        self._withdraw({entry.id for entry in body.entries})
        for entry in body.entries:
            known = self.entries.get(entry.id)
            if known is None:
                self.entries[entry.id] = EntryState(entry, self._free_path(entry), at)
            elif not known.attempts:
                if known.withdrawn or (entry.pause is not None and entry != known.entry):
                    known.arrival = (
                        at  # what came back, and a hold that was changed, acts from now on and not in the past
                    )
                known.withdrawn = False
                known.entry = entry

    def _withdraw(self, kept: set[str]) -> None:
        for identity, state in self.entries.items():
            if identity not in kept and not state.attempts:
                state.withdrawn = True

    def _free_path(self, entry: Entry) -> str:
        # On Windows, names that differ in case only are one folder.
        taken = {state.path.lower() for state in self.entries.values()}
        base = path = f"{format_time(entry.start_time)}/{entry.name}"
        number = 0
        while path.lower() in taken:
            number += 1
            path = f"{base}_{number}"
        return path


@dataclass(slots=True)
class BarrierState:
    """Which VMs of the whole experiment are ready to start.

    Attributes:
        states: each VM's state by uuid.
        not_ready: uuids of the VMs that are not ready, and for which the experiment waits.
        waived: uuids of the VMs for which it does not.

    """

    states: dict[str, str] = field(default_factory=dict)
    not_ready: set[str] = field(default_factory=set)
    waived: set[str] = field(default_factory=set)

    @property
    def ready(self) -> bool:
        """Whether there is a VM and every one is ready."""
        return bool(self.states) and not self.not_ready

    def apply(self, recorded: Recorded) -> None:
        """Fold one event. A state of a VM that was never added has no effect, so that a late report leaves no ghost."""
        match recorded.event.body:
            case events.VmAdded(server_uuid=uuid, state=state):
                self.waived.discard(uuid)
                self._set(uuid, state)
            case events.VmWaived(server_uuid=uuid) if uuid in self.states:
                self.waived.add(uuid)
                self.not_ready.discard(uuid)
            case events.VmStateSet(server_uuid=uuid, state=state) if uuid in self.states:
                self._set(uuid, state)
            case events.VmRemoved(server_uuid=uuid):
                self.states.pop(uuid, None)
                self.not_ready.discard(uuid)
                self.waived.discard(uuid)
            case events.ExperimentCleared(scope=scope) if "vms" in scope:
                self.states.clear()
                self.not_ready.clear()
                self.waived.clear()
            case _:
                pass

    def _set(self, uuid: str, state: str) -> None:
        self.states[uuid] = state
        if state.lower() in READY_STATES or uuid in self.waived:
            self.not_ready.discard(uuid)
        else:
            self.not_ready.add(uuid)


def start_after(now: datetime, buffer: float) -> datetime:
    """Return the start time to report at ``now``: at least ``buffer`` seconds later, on a whole second (UTC)."""
    return datetime.fromtimestamp(-((-now.timestamp() - buffer) // 1), UTC)
