"""Which VMs a handler serves and what the log says of them: the handler's whole fold, without I/O.

A handler reads the events of its own VMs and of the experiment (one consumer, however many VMs), and which VMs of all hosts are ready
(another). `Roster` takes both, keeps each VM's state, and says what the handler has to follow.
"""

from __future__ import annotations

import msgspec

from vmr import events
from vmr.events import Recorded
from vmr.subjects import ROOT, entity_subject
from vmr.vm_state import BarrierState, ExperimentState, VmState

_SCHEDULE_EVENTS = (events.SchedulePublished, events.ScheduleRemoved)
RESOURCES = "vm_resources"
"""The resource store from which entries' files come."""


def is_full_clear(recorded: Recorded) -> bool:
    """Return whether the event ends a run: it clears VMs, schedules and times together."""
    body = recorded.event.body
    return isinstance(body, events.ExperimentCleared) and set(body.scope) == {"vms", "schedules", "times"}


def everywhere_filters(db: str) -> list[str]:
    """Return the subject filters of what a handler must know of all VMs: who is part of the experiment, and who is ready."""
    wanted = (events.VmAdded, events.VmRemoved, events.VmStateSet, events.VmWaived)
    return [*(every_vm(db, body) for body in wanted), entity_subject(db, "experiment", None, ">")]


def every_vm(db: str, body: type[events.KnownBody]) -> str:
    """Return the subject filter of one type of event, about any VM."""
    return f"{ROOT}.{db}.vm.*.{body.type_name().partition('.')[2]}"


class Roster:
    """The VMs of one handler host.

    Attributes:
        vms: by uuid, the states of the VMs whose agents are on this host.
        experiment: the experiment's state.
        barrier: which VMs of all hosts are ready.

    """

    def __init__(self, db: str, host: str) -> None:
        self._db = db
        self._host = host
        self._by_name: dict[str, VmState] = {}
        self.vms: dict[str, VmState] = {}
        self.experiment = ExperimentState()
        self.barrier = BarrierState()

    def apply_everywhere(self, recorded: Recorded) -> VmState | None:
        """Fold one event of all hosts' VMs; return a VM of this host that is new with it and has to be followed."""
        self.barrier.apply(recorded)
        body = recorded.event.body
        if isinstance(body, events.ExperimentCleared) and "vms" in body.scope:
            self._forget(list(self.vms.values()))
        if isinstance(body, events.VmRemoved) and body.server_uuid in self.vms:
            self._forget([self.vms[body.server_uuid]])
        ours = isinstance(body, events.VmAdded) and body.agent is not None and body.agent.host == self._host
        if ours and isinstance(body, events.VmAdded) and body.server_uuid not in self.vms:
            return self._add(body, recorded.event.id)
        return None

    def apply(self, recorded: Recorded) -> VmState | None:
        """Fold one event of this host's VMs or of the experiment; return the VM that it is about, None when it is about all."""
        body = recorded.event.body
        if recorded.event.type.startswith("experiment."):
            self.experiment.apply(recorded)
            if isinstance(body, events.ExperimentCleared) and "schedules" in body.scope:
                self._clear_schedules(recorded)
            return None
        if isinstance(body, _SCHEDULE_EVENTS) and body.store != events.DEFAULT_SCHEDULES:
            return None
        vm = self.vm_of(body)
        if vm is not None:
            vm.apply(recorded)
        return vm

    def filters(self, vms: list[VmState]) -> list[str]:
        """Return the subject filters of everything about ``vms``."""
        return [
            *(entity_subject(self._db, "vm", vm.uuid, ">") for vm in vms),
            *(entity_subject(self._db, "schedule", name, ">") for name in {vm.name for vm in vms}),
        ]

    def filters_of_all(self) -> list[str]:
        """Return the subject filters of this host's VMs, of the resources and of the experiment."""
        return [
            *self.filters(list(self.vms.values())),
            entity_subject(self._db, "resource", RESOURCES, ">"),
            entity_subject(self._db, "experiment", None, ">"),
        ]

    def _clear_schedules(self, recorded: Recorded) -> None:
        for vm in self.vms.values():
            removed = msgspec.structs.replace(recorded.event, body=events.ScheduleRemoved(server_name=vm.name))
            vm.apply(msgspec.structs.replace(recorded, event=removed))

    def _add(self, body: events.VmAdded, event_id: str) -> VmState:
        vm = VmState(body.server_uuid, body.server_name, added=True, run=event_id, agent=body.agent, state=body.state)
        self.vms[vm.uuid] = self._by_name[vm.name] = vm
        return vm

    def _forget(self, vms: list[VmState]) -> None:
        for vm in vms:
            vm.added = False
            del self.vms[vm.uuid]
            self._by_name.pop(vm.name, None)

    def vm_of(self, body: events.KnownBody | events.Unknown) -> VmState | None:
        """Return the VM of this host that ``body`` is about, if any."""
        uuid = getattr(body, "server_uuid", None)
        if uuid is not None:
            return self.vms.get(uuid)
        return self._by_name.get(getattr(body, "server_name", ""))
