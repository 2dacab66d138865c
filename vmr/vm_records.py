"""One VM as the log has it now, and changes of its state and time, without the read model: for callers that do this in a loop."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

import msgspec

from vmr.errors import UnknownVmError
from vmr.events import ExperimentCleared, KnownBody, Unknown, VmAdded, VmRemoved, VmStateSet, VmTimeTicked
from vmr.experiment_fold import ExperimentFold, experiment_subject
from vmr.log import AsyncLog, last_events
from vmr.subjects import entity_subject

_Changes: TypeAlias = VmStateSet | VmTimeTicked


class VmRecord(msgspec.Struct, frozen=True):
    """A VM: who it is, its state, and the time of its schedule that it has reached (decimal string, empty before that)."""

    server_uuid: str
    server_name: str
    control_ip: str
    state: str
    current_time: str


class VmRecords:
    """The VMs of one connection's database. Its methods are called on the connection's loop."""

    def __init__(self) -> None:
        self._known: set[str] = set()

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
            self._known.discard(server_uuid)
            return None
        self._known.add(server_uuid)
        record = _added(added.event.body)
        for change in changes:
            if change is not None and change.sequence > added.sequence:
                record = _changed(record, change.event.body)
        return record

    async def change(self, log: AsyncLog, experiment: ExperimentFold, body: _Changes) -> VmRecord:
        """Record a VM's state or time and return the VM with it; raise `UnknownVmError` when it is not part of the experiment."""
        uuid = body.server_uuid
        if uuid in self._known:
            # What this process knows is published at once; whether it still holds is found out while the server writes. A state
            # of a VM that another process has removed meanwhile has no effect, here as everywhere.
            _, record = await asyncio.gather(log.publish(body), self.read(log, experiment, uuid, without=type(body)))
        else:
            record = await self.read(log, experiment, uuid, without=type(body))
            if record is not None:
                await log.publish(body)
        if record is None:
            raise UnknownVmError(f"no VM has the uuid {uuid!r}: add it first, or was it removed?")
        return _changed(record, body)


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
