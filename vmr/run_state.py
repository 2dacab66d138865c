"""What a run has come to, as a fold over all its events: what `vmr run` shows, and how it knows that nothing is left to do. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

from vmr import planner
from vmr.events import Recorded
from vmr.roster import Roster
from vmr.vm_state import EntryState, VmState

Outcome: TypeAlias = Literal["complete", "end", "ended", "stuck"]
"""Why a run is over: nothing is left to do, its end time has come, an operator called it ended, or it cannot start any more."""


class Counts(msgspec.Struct, frozen=True):
    """How many entries of a VM, or of all, are in which state; ``nonzero`` are finished ones with another exit code than 0."""

    entries: int = 0
    running: int = 0
    finished: int = 0
    nonzero: int = 0
    failed: int = 0
    lost: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))


class RunState:
    """The fold of one run on one host."""

    def __init__(self, db: str, host: str) -> None:
        self._roster = Roster(db, host)
        self.sequence = 0
        self.events = 0

    def apply(self, recorded: Recorded) -> None:
        """Fold one event of the run, whatever it is about."""
        self._roster.apply_everywhere(recorded)
        self._roster.apply(recorded)
        self.sequence = recorded.sequence
        self.events += 1

    @property
    def vms(self) -> list[VmState]:
        """The VMs of this host, in the order in which they were added."""
        return list(self._roster.vms.values())

    @property
    def launched(self) -> bool:
        """Whether the launch is recorded: all VMs, files and schedules are."""
        return self._roster.experiment.launched is not None

    @property
    def start(self) -> datetime | None:
        """The start of the experiment (UTC), or None before it is known."""
        return self._roster.experiment.start

    @property
    def ended(self) -> bool:
        """Whether the run was called ended."""
        return self._roster.experiment.ended

    @property
    def not_ready(self) -> int:
        """How many VMs, of all hosts, are not ready."""
        return len(self._roster.barrier.not_ready)

    def failed(self) -> list[VmState]:
        """Return the VMs that have failed."""
        return [vm for vm in self.vms if vm.state.lower() == "failed"]

    def copying(self) -> bool:
        """Return whether a copy out of a guest is on record as under way."""
        return any(each.running and each.entry.transfer is not None for vm in self.vms for each in vm.entries.values())

    def blocking(self) -> list[VmState]:
        """Return the VMs of this host that have failed and for which the experiment waits."""
        return [vm for vm in self.failed() if not vm.waived]

    def _stuck(self) -> bool:
        """Whether every VM that the experiment waits for has failed, and will not be waived by the experiment's own rule."""
        launched, barrier = self._roster.experiment.launched, self._roster.barrier
        if launched is None or launched.failed_vms == "waive" or not barrier.not_ready:
            return False
        failed = all(barrier.states[uuid].lower() == "failed" for uuid in barrier.not_ready)
        return failed and not any(each.running for vm in self.vms for each in vm.entries.values())

    def outcome(self, now: datetime, end: float | None) -> Outcome | None:
        """Return why the run is over at ``now`` (UTC), or None while it goes on; ``end`` is its end in seconds after the start."""
        if not self.launched:
            return None
        if self.ended:
            return "ended"
        if self.start is None:
            return "stuck" if self._stuck() else None
        if all(planner.complete(vm) for vm in self.vms):
            return "complete"
        return "end" if end is not None and now >= self.start + timedelta(seconds=end) else None


def counts(vm: VmState) -> Counts:
    """Return how the entries of ``vm`` stand."""
    total = Counts()
    for state in vm.entries.values():
        total += _count(state)
    return total


def _count(state: EntryState) -> Counts:
    if not state.attempts:
        return Counts(entries=0 if state.withdrawn else 1)
    last = state.attempts[-1]
    return Counts(
        entries=1,
        running=int(last.status == "running"),
        finished=int(last.status == "finished"),
        nonzero=int(last.status == "finished" and bool(last.exit_code)),
        failed=int(last.status == "failed"),
        lost=int(last.status == "lost"),
    )
