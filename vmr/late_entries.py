"""What an operator gives a running VM to do: an entry added to its schedule, and what became of it, followed in the log.

Such entries stand at a time before all others (`LATE`), where FIREWHEEL puts them: one that arrives late runs at once, also in a VM
that is held by a pause or a break.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import aclosing
from typing import Final

import msgspec

from vmr.errors import InvalidInputError, VmrError
from vmr.eventlog import with_entries
from vmr.events import (
    DEFAULT_SCHEDULES,
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentCleared,
    ExperimentEnded,
    FileTransferred,
    KnownBody,
    SchedulePublished,
    ScheduleRemoved,
    Unknown,
    VmRemoved,
    VmStateSet,
    new_id,
)
from vmr.log import AsyncLog
from vmr.present_vms import PresentVms
from vmr.schedule import Entry
from vmr.subjects import entity_subject
from vmr.vm_state import VmState

LATE: Final = -100_000
_ABOUT_VM: Final[tuple[type[KnownBody], ...]] = (
    EntryStarted,
    EntryFinished,
    EntryFailed,
    EntryLost,
    FileTransferred,
    VmStateSet,
    VmRemoved,
)


class LateEntry(msgspec.Struct, frozen=True):
    """An entry that was added to a running VM's schedule.

    Attributes:
        vm: the VM, as it was just before.
        entry: the entry.
        since: a sequence before which nothing is about it.

    """

    vm: VmState
    entry: Entry
    since: int


async def add(log: AsyncLog, present: PresentVms, word: str, kind: str, entry: Entry) -> LateEntry:
    """Add ``entry`` to the schedule of the VM of this name or uuid, under a new identity that begins with ``kind``.

    Raises `InvalidInputError` when there is no such VM, or when nothing that is added to its schedule would run.
    """
    vm = await usable(log, present, word)
    added = msgspec.structs.replace(entry, id=f"{LATE}/{kind}-{new_id()}")
    await log.append_entries(vm.name, [added])
    return LateEntry(vm, added, present.position + 1)


async def usable(log: AsyncLog, present: PresentVms, word: str) -> VmState:
    """Return the VM of this name or uuid; raise `InvalidInputError` when nothing runs in it, or there is none."""
    (vm,) = present.find([word])
    vm = await present.look(log, vm)
    why = ""
    if present.experiment.ended:
        why = "the run has ended"
    elif vm.state.lower() == "n/a":
        why = "vmr leaves it alone (state n/a)"
    elif vm.agent is None:
        why = "it was added without the address of its guest agent"
    elif vm.state.lower() == "failed":
        why = f"it has failed{f' ({vm.reason})' if vm.reason else ''}"
    if why:
        raise InvalidInputError(f"VM {vm.name!r}: nothing more is run in it, because {why}")
    return vm


async def conclude(log: AsyncLog, late: LateEntry, timeout: float | None = None) -> list[FileTransferred]:
    """Wait until ``late`` is done; return the copies out of the guest that it made.

    Raises `VmrError`, naming the VM and saying why, when it failed, cannot run any more, or is not done after ``timeout`` seconds.
    """
    progress = _Progress(late.entry.id)
    try:
        async with asyncio.timeout(timeout), aclosing(log.follow(_filters(log.db, late.vm), late.since)) as batches:
            async for batch in batches:
                for recorded in batch:
                    progress.apply((await with_entries(log, recorded)).event.body)
                    if progress.obstacle:
                        raise VmrError(f"VM {late.vm.name!r}: {progress.obstacle}")
                    if progress.done:
                        return progress.copies
    except TimeoutError:
        raise VmrError(
            f"VM {late.vm.name!r}: not done after {timeout:g} s; it stays in the schedule and is done when the guest answers"
            f" (`vmr log --follow --vm {shlex.quote(late.vm.name)}`)"
        ) from None
    raise VmrError("the log ended")


def _filters(db: str, vm: VmState) -> list[str]:
    return [
        *(entity_subject(db, "vm", vm.uuid, body.type_name().partition(".")[2]) for body in _ABOUT_VM),
        entity_subject(db, "schedule", vm.name, ">"),
        entity_subject(db, "experiment", None, ">"),
    ]


class _Progress:
    """The fold of one entry's way from the schedule to its end.

    Attributes:
        copies: the copies out of the guest that it made.
        done: whether it is over, as it should be.
        obstacle: why it will not be done, or empty.

    """

    def __init__(self, entry: str) -> None:
        self._entry = entry
        self._scheduled = False
        self._started = False
        self.copies: list[FileTransferred] = []
        self.done = False
        self.obstacle = ""

    def apply(self, body: KnownBody | Unknown) -> None:
        """Fold one event about the VM, its schedule or the experiment."""
        if getattr(body, "entry", self._entry) != self._entry:
            return
        match body:
            case EntryStarted():
                self._started = True
            case FileTransferred():
                self.copies.append(body)
            case EntryFinished():
                self.done = True
            case SchedulePublished() | ScheduleRemoved() if body.store == DEFAULT_SCHEDULES:
                self._schedule(body)
            case _:
                self.obstacle = _obstacle(body)

    def _schedule(self, body: SchedulePublished | ScheduleRemoved) -> None:
        there = isinstance(body, SchedulePublished) and any(each.id == self._entry for each in body.entries)
        if self._scheduled and not there and not self._started:
            self.obstacle = "another schedule was published meanwhile, without it"
        self._scheduled = self._scheduled or there


def _obstacle(body: KnownBody | Unknown) -> str:
    """Return why an event means that the entry will not be done, or nothing."""
    match body:
        case EntryFailed(error=error):
            return error
        case EntryLost(reason=reason):
            return f"the end of it cannot be known: {reason}"
        case VmStateSet(state=state, reason=reason) if state.lower() == "failed":
            return f"it failed meanwhile{f' ({reason})' if reason else ''}"
        case VmRemoved() | ExperimentEnded():
            return f"it was not done before {body.type_name()}"
        case ExperimentCleared(scope=scope) if set(scope) & {"vms", "schedules"}:
            return f"it was not done before {body.type_name()}"
        case _:
            return ""
