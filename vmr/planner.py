"""What is due for one VM now: `plan(vm, experiment, now) -> Plan`. Pure: no clock, no socket, no sleep.

The rules are FIREWHEEL's, as its users know them:

- negative time is an order, not a clock: all entries of one time finish before those of the next begin; entries of one time are
  launched in the order of the schedule and run side by side;
- a VM whose negative entries are done is configured; when every VM is, the experiment gets its start (`vmr.handler`);
- positive time is seconds after the start, with pauses and breaks as `vmr.timeline` places them; nothing waits for anything else;
- an entry that arrives late runs at once, in the order above;
- a nonzero exit code fails nothing; an entry that cannot be launched fails its VM unless the entry says otherwise;
- exit code 10, or a file named ``reboot``: when all entries of that time are done the guest is rebooted once, and the entries that
  asked run again (FIREWHEEL does so in negative time only);
- an entry's own rules may give it more attempts, or fail its VM, after a bad end (`vmr.schedule.Entry`).
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TypeAlias

import msgspec

from vmr.schedule import format_time
from vmr.timeline import Hold, Interval, Timeline
from vmr.vm_state import MAX_ATTEMPTS, EntryState, ExperimentState, VmState


class SetState(msgspec.Struct, frozen=True):
    """Record a state of the VM."""

    state: str
    reason: str = ""


class Waive(msgspec.Struct, frozen=True):
    """Record that the experiment does not wait for the VM."""

    reason: str


class Tick(msgspec.Struct, frozen=True):
    """Record the schedule time that the VM has reached."""

    current_time: str


class Launch(msgspec.Struct, frozen=True):
    """Start the next attempt of an entry; ``due`` is its time after pauses (UTC), None in negative time."""

    entry: str
    attempt: int
    due: datetime | None = None


class BeginHold(msgspec.Struct, frozen=True):
    """Record that a pause, a break or a resume of the schedule takes effect."""

    entry: str
    due: datetime | None = None


class EndHold(msgspec.Struct, frozen=True):
    """Record that a pause or a break is over."""

    entry: str


class Reboot(msgspec.Struct, frozen=True):
    """Reboot the guest for these entries."""

    entries: tuple[str, ...]


Action: TypeAlias = SetState | Waive | Tick | Launch | BeginHold | EndHold | Reboot


class Plan(msgspec.Struct, frozen=True):
    """What to do now, in this order, and when to ask again although nothing happens (UTC; None: not before something does)."""

    actions: tuple[Action, ...] = ()
    wake: datetime | None = None


def plan(vm: VmState, experiment: ExperimentState, now: datetime) -> Plan:
    """Return what is due for ``vm`` at ``now`` (UTC, aware). The actions' events change the state, and the next plan follows from it."""
    if vm.added and vm.state.lower() == "failed":
        return Plan(_waive(vm, experiment))
    if not vm.added or vm.state.lower() == "n/a" or not vm.scheduled or experiment.ended:
        return Plan()
    broken = vm.refused or _failure(vm)
    if broken:
        return Plan((SetState("failed", broken),))
    if vm.state.lower() == "uninitialized":
        return Plan((SetState("configuring"),))
    return _Planner(vm, experiment, now).plan()


def complete(vm: VmState) -> bool:
    """Return whether nothing of the VM's schedule is left to do, or nothing of it will be done."""
    if not vm.added or vm.state.lower() == "n/a":
        return True
    if vm.state.lower() == "failed":
        return not any(state.running for state in vm.entries.values())
    return vm.scheduled and all(state.concluded or _for_ever(state) for state in vm.entries.values())


def timeline_of(vm: VmState, experiment: ExperimentState, now: datetime) -> Timeline:
    """Return when the schedule time of ``vm`` stands still, as far as is known at ``now`` (UTC, aware); times are relative to the start."""
    return _Planner(vm, experiment, now).timeline


class _Planner:
    """One planning of one VM: the entries sorted by kind, the holds placed in time."""

    def __init__(self, vm: VmState, experiment: ExperimentState, now: datetime) -> None:
        self.vm = vm
        self.now = now
        self.origin = experiment.start if experiment.start is not None else now
        self.started = experiment.start is not None
        self.real = self._real(now)
        self.timeline = self._timeline(experiment)
        self.wakes: list[float] = [moment for moment in self.timeline.changes() if moment > self.real]

    def plan(self) -> Plan:
        actions = self._holds()
        negative = [state for state in self._entries() if state.entry.time < 0]
        unfinished = [state for state in negative if not state.concluded]
        if unfinished:
            actions += self._level(unfinished)
        elif self.vm.state == "configuring":
            actions.append(SetState("configured"))
        if self.started:
            actions += self._positive()
        wake = min(self.wakes, default=math.inf)
        return Plan(tuple(actions), None if wake == math.inf else self.origin + timedelta(seconds=wake))

    def _entries(self) -> list[EntryState]:
        return [each for each in self.vm.entries.values() if each.entry.pause is None and not each.entry.resume]

    def _level(self, unfinished: list[EntryState]) -> list[Action]:
        """Decide on the earliest unfinished negative time."""
        time = min(state.entry.time for state in unfinished)
        level = [state for state in unfinished if state.entry.time == time]
        launches = self._launches([state for state in level if self._free(state)])
        return [*self._tick(level[0]), *launches] if launches else _reboot(level)

    def _launches(self, level: list[EntryState]) -> list[Action]:
        """Return the launches of entries that are to run now, first attempts and further ones; note when the others are."""
        launches: list[Action] = []
        for state in level:
            number = state.next_attempt
            if number is None:
                continue
            after = state.due_again() if state.attempts else None
            if after is not None and after > self.now:
                self.wakes.append(self._real(after))
            else:
                launches.append(Launch(state.entry.id, number))
        return launches

    def _free(self, state: EntryState) -> bool:
        """Whether nothing holds the entry: an operator's entry, which came after the hold began, acts in spite of it."""
        held = self.timeline.held(self.real)
        return held is None or self._real(state.arrival) > held.begin

    def _tick(self, state: EntryState) -> list[Action]:
        time = format_time(state.entry.start_time)
        return [] if self.vm.current_time == time else [Tick(time)]

    def _positive(self) -> list[Action]:
        waiting = [
            (max(self.timeline.due(state.entry.time), self._real(state.arrival)), state.entry.time, index, state)
            for index, state in enumerate(self._entries())
            if state.entry.time > 0 and not state.attempts and not state.withdrawn
        ]
        due = sorted((each for each in waiting if each[0] <= self.real), key=lambda each: each[:3])
        self.wakes += [real for real, _, _, _ in waiting if self.real < real < math.inf]
        actions: list[Action] = []
        if due:
            actions += self._tick(max(due, key=lambda each: each[1])[3])
        actions += [Launch(state.entry.id, 1, self._moment(real)) for real, _, _, state in due]
        return actions + self._again()

    def _again(self) -> list[Action]:
        """Decide on further attempts of positive entries, and on the reboots that they ask for."""
        tried = [state for state in self._entries() if state.entry.time > 0 and state.attempts]
        actions = self._launches(tried)
        times = sorted({state.entry.time for state in tried if state.wants_reboot})
        for time in times:
            unfinished = [state for state in tried if state.entry.time == time and not state.concluded]
            actions += _reboot(unfinished)
        return actions

    def _holds(self) -> list[Action]:
        """Record holds and resumes of the schedule as they take effect and end."""
        actions: list[Action] = []
        for interval in self.timeline.intervals:
            state = self.vm.entries.get(interval.entry)
            if state is None or not (self.started or interval.position == -math.inf):
                continue
            actions += self._hold(state, interval)
        for state in self.vm.entries.values():
            if state.entry.resume and not state.withdrawn:
                actions += self._instant(state)
            elif state.withdrawn and state.running and (state.entry.resume or state.entry.pause is not None):
                actions.append(EndHold(state.entry.id))  # it was withdrawn as it took effect, and holds nothing
        return actions

    def _hold(self, state: EntryState, interval: Interval) -> list[Action]:
        if interval.begin > self.real or state.withdrawn:
            return []
        if not state.attempts:
            return [BeginHold(state.entry.id, self._moment(interval.begin) if self.started else None)]
        return [EndHold(state.entry.id)] if interval.end <= self.real and state.running else []

    def _instant(self, state: EntryState) -> list[Action]:
        if not state.attempts:
            return [BeginHold(state.entry.id)]
        return [EndHold(state.entry.id)] if state.running else []

    def _timeline(self, experiment: ExperimentState) -> Timeline:
        holds, resumes = [], [*experiment.resumes, *self.vm.resumes]
        for identity, state in self.vm.entries.items():
            if state.withdrawn:
                continue
            if state.entry.resume:
                resumes.append(state.arrival)
            elif state.entry.pause is not None and (self.started or state.entry.time == -math.inf):
                holds.append(self._hold_of(identity, state))
        for number, command in enumerate([*experiment.pauses, *self.vm.pauses]):
            duration = math.inf if command.duration is None else command.duration
            holds.append(Hold(f"operator {number}", -math.inf, self._real(command.at), duration))
        return Timeline(holds, [self._real(at) for at in resumes])

    def _hold_of(self, identity: str, state: EntryState) -> Hold:
        assert state.entry.pause is not None
        since = self.vm.configuring_since or self.now
        arrival = max(state.arrival, since)  # a hold before everything begins with the handling of the VM
        duration = math.inf if state.entry.pause.duration is None else state.entry.pause.duration
        return Hold(identity, state.entry.time, self._real(arrival), duration)

    def _real(self, at: datetime) -> float:
        return (at - self.origin).total_seconds()

    def _moment(self, real: float) -> datetime:
        return self.origin + timedelta(seconds=real)


def _reboot(unfinished: list[EntryState]) -> list[Action]:
    """Return the reboot that entries of one time ask for, when nothing else of that time is left to do."""
    if unfinished and all(state.wants_reboot for state in unfinished):
        return [Reboot(tuple(state.entry.id for state in unfinished))]
    return []


def _waive(vm: VmState, experiment: ExperimentState) -> tuple[Action, ...]:
    """Return what the rule of the experiment does about a VM that failed before the start."""
    launched = experiment.launched
    if vm.waived or experiment.start is not None or launched is None or launched.failed_vms != "waive":
        return ()
    return (Waive(f"failed: {vm.reason}" if vm.reason else "failed"),)


def _failure(vm: VmState) -> str:
    """Why the VM has failed, or empty."""
    return next((reason for state in vm.entries.values() if state.attempts and (reason := _failure_of(state))), "")


def _failure_of(state: EntryState) -> str:
    """Why an entry fails its VM, or empty."""
    name, entry, last = f"entry {state.entry.id!r}", state.entry, state.attempts[-1]
    if state.wants_reboot and len(state.attempts) >= MAX_ATTEMPTS:
        return f"{name} asked for a reboot {MAX_ATTEMPTS} times"
    if state.running or state.wants_reboot or state.wants_again:
        return ""
    if last.status == "failed" and not entry.ignore_failure and entry.transfer is None:
        return f"{name} could not be launched"
    if last.status == "lost" and entry.when_lost != "continue":
        return f"{name} was lost" if entry.when_lost == "fail" else f"{name} was lost {len(state.attempts)} times"
    if last.bad and entry.nonzero_fails:
        return f"{name} ended with exit code {last.exit_code}"
    return ""


def _for_ever(state: EntryState) -> bool:
    """Whether the entry, by its nature, has no end of its own: a copy at an interval that is under way."""
    return state.running and state.entry.transfer is not None and state.entry.transfer.interval is not None
