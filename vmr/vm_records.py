"""One VM as the log has it now, and changes of its state and time, without the read model: for callers that do this in a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import msgspec

from vmr.errors import UnknownVmError
from vmr.events import ExperimentCleared, KnownBody, Unknown, VmAdded, VmRemoved, VmStateSet, VmTimeTicked
from vmr.experiment_fold import ExperimentFold, experiment_subject
from vmr.log import AsyncLog, events_at, last_events
from vmr.subjects import entity_subject

_Changes: TypeAlias = VmStateSet | VmTimeTicked

_FEW: Final = 4


class VmRecord(msgspec.Struct, frozen=True):
    """A VM: who it is, its state, and the time of its schedule that it has reached (decimal string, empty before that)."""

    server_uuid: str
    server_name: str
    control_ip: str
    state: str
    current_time: str


_Found: TypeAlias = tuple[VmRecord | None, int]


class VmRecords:
    """The VMs of one connection's database. Its methods are called on the connection's loop.

    What was read or written here is remembered with the sequence up to which it is known to hold. A change is published at once; when
    its own sequence shows that nobody else wrote to the log since then (or only a few events, about other things), what is
    remembered still holds, and else it is read again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[VmRecord, int]] = {}
        # All events from the first to the last of these sequences are in what is remembered when a VM's turn is over.
        self._first = self._last = 0
        self._alone = False
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def add(self, log: AsyncLog, bodies: Sequence[VmAdded]) -> None:
        """Record that VMs are part of the experiment."""
        for body, sequence in zip(bodies, await log.publish_many(bodies), strict=True):
            self._wrote(sequence)
            if self._known.get(body.server_uuid, (None, 0))[1] < sequence:
                self._known[body.server_uuid] = _added(body), sequence
        if any(body.server_uuid in self._turns for body in bodies):
            self._first = self._last + 1  # a change that is under way may not know of its VM's being added anew

    async def read(
        self, log: AsyncLog, experiment: ExperimentFold, server_uuid: str, *, without: type[_Changes] | None = None
    ) -> VmRecord | None:
        """Return the VM as it is now, None when it is not part of the experiment.

        ``without`` is what the caller does not ask for, because it sets it: the state, or the time.
        """
        wanted = [body for body in (VmStateSet, VmTimeTicked) if body is not without]
        subjects = [_subject(log.db, server_uuid, body) for body in (VmAdded, VmRemoved, *wanted)]
        *found, cleared = await last_events(log, [*subjects, experiment_subject(log.db, ExperimentCleared)])
        await experiment.reach(log, 0 if cleared is None else cleared.sequence)
        added, removed, *changes = found
        gone = max(experiment.vms_cleared, 0 if removed is None else removed.sequence)
        if added is None or added.sequence < gone or not isinstance(added.event.body, VmAdded):
            self._known.pop(server_uuid, None)
            return None
        record = _added(added.event.body)
        for change in changes:
            if change is not None and change.sequence > added.sequence:
                record = _changed(record, change.event.body)
        return record

    async def change(self, log: AsyncLog, experiment: ExperimentFold, body: _Changes) -> VmRecord:
        """Record a VM's state or time and return the VM with it; raise `UnknownVmError` when it is not part of the experiment."""
        uuid = body.server_uuid
        turn = self._turns.setdefault(uuid, asyncio.Lock())
        async with turn:
            # A state of a VM that another process has removed meanwhile has no effect, here as everywhere, and is an error below.
            change = self._change_known if uuid in self._known else self._change_unknown
            record, holds = await change(log, experiment, body)
            if record is None:
                raise UnknownVmError(f"no VM has the uuid {uuid!r}: add it first, or was it removed?")
            record = _changed(record, body)
            self._known[uuid] = record, holds
        return record

    async def _change_unknown(self, log: AsyncLog, experiment: ExperimentFold, body: _Changes) -> _Found:
        """Publish a change if there is such a VM; return it without the change, and up to which sequence that is known to hold."""
        holds, record = log.last_published, await self.read(log, experiment, body.server_uuid, without=type(body))
        if record is not None:
            self._wrote(await log.publish(body))
        return record, holds

    async def _change_known(self, log: AsyncLog, experiment: ExperimentFold, body: _Changes) -> _Found:
        """Publish a change; return the VM without it, and up to which sequence that is known to hold."""
        uuid, holds = body.server_uuid, log.last_published
        if not self._alone or self._known[uuid][1] < self._first - 1:
            # It has to be read, or it probably will: both at once is faster than one after the other.
            reading = self.read(log, experiment, uuid, without=type(body))
            sequence, record = await asyncio.gather(log.publish(body), reading)
            self._wrote(sequence)
            return record, holds
        sequence = await log.publish(body)
        await self._catch_up(log, sequence)
        known = self._known.get(uuid)
        if known is not None and known[1] >= self._first - 1:
            return known[0], sequence
        return await self.read(log, experiment, uuid, without=type(body)), sequence

    async def _catch_up(self, log: AsyncLog, sequence: int) -> None:
        """Note our own event of this ``sequence``; look at the few that others wrote before it, and forget what they concern."""
        others = range(self._last + 1, sequence)
        if not 0 < len(others) <= _FEW:
            self._wrote(sequence)
            return
        first, self._first, self._last = self._first, sequence + 1, sequence  # nothing counts as known while we look
        for recorded in await events_at(log, others):
            self._forget(None if recorded is None else recorded.event.body)
        if self._first == sequence + 1:
            self._first = first

    def _forget(self, body: KnownBody | Unknown | None) -> None:
        match body:
            case VmAdded() | VmRemoved() | VmStateSet() | VmTimeTicked():
                self._known.pop(body.server_uuid, None)
            case ExperimentCleared() | Unknown() | None:
                self._known.clear()
            case _:
                pass

    def _wrote(self, sequence: int) -> None:
        self._alone = sequence == self._last + 1
        self._first, self._last = (self._first if self._alone else sequence), sequence


def _subject(db: str, server_uuid: str, body: type[KnownBody]) -> str:
    return entity_subject(db, "vm", server_uuid, body.type_name().partition(".")[2])


def _added(body: VmAdded) -> VmRecord:
    return VmRecord(body.server_uuid, body.server_name, body.control_ip, body.state, body.current_time)


def _changed(record: VmRecord, body: KnownBody | Unknown) -> VmRecord:
    match body:
        case VmStateSet(state=state):
            return msgspec.structs.replace(record, state=state)
        case VmTimeTicked(current_time=current_time):
            return msgspec.structs.replace(record, current_time=current_time)
        case _:
            return record
