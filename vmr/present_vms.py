"""The VMs of the present run by name, and how single ones stand: for operators' commands, from the log alone.

A command has to act within moments also when no projector runs, so it folds what it needs: who is part of the experiment, and, of
the VMs that it is about, state and handler.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, Self

from vmr.errors import InvalidInputError
from vmr.eventlog import read_merged
from vmr.events import (
    ExperimentCleared,
    HandlerAttached,
    HandlerDetached,
    KnownBody,
    Recorded,
    VmAdded,
    VmRemoved,
    VmStateSet,
    VmWaived,
)
from vmr.log import AsyncLog
from vmr.roster import every_vm, everywhere_filters
from vmr.run import find_run
from vmr.subjects import entity_subject
from vmr.vm_state import BarrierState, ExperimentState, VmState

_SHOWN: Final = 10
_ABOUT_ONE: Final[tuple[type[KnownBody], ...]] = (
    VmAdded,
    VmRemoved,
    VmStateSet,
    VmWaived,
    HandlerAttached,
    HandlerDetached,
)


class PresentVms:
    """The VMs of the present run as of one moment.

    Attributes:
        position: the last sequence that was looked at.
        experiment: the experiment's state.

    """

    def __init__(self, begin: int, position: int) -> None:
        self._begin = begin
        self.position = position
        self.experiment = ExperimentState()
        self._vms: dict[str, VmState] = {}

    @classmethod
    async def read(cls, log: AsyncLog) -> Self:
        """Return the VMs as they are now."""
        present = cls(await find_run(log), await log.last_sequence())
        everybody = [every_vm(log.db, body) for body in (VmAdded, VmRemoved)]
        filters = [*everybody, entity_subject(log.db, "experiment", None, ">")]
        for recorded in await read_merged(log, filters, present._begin, present.position):
            present._apply(recorded)
        return present

    def _apply(self, recorded: Recorded) -> None:
        self.experiment.apply(recorded)
        match recorded.event.body:
            case VmAdded(server_uuid=uuid):
                self._vms.setdefault(uuid, VmState(uuid)).apply(recorded)
            case VmRemoved(server_uuid=uuid):
                self._vms.pop(uuid, None)
            case ExperimentCleared(scope=scope) if "vms" in scope:
                self._vms.clear()
            case _:
                pass

    @property
    def managed(self) -> list[VmState]:
        """The VMs that vmr configures and drives, as they were added."""
        return [vm for vm in self._vms.values() if vm.state.lower() != "n/a"]

    def find(self, words: Sequence[str]) -> list[VmState]:
        """Return the VMs of these names or uuids, each once, as they were added.

        Raises `InvalidInputError` that names every word which is no VM, or several.
        """
        by_word: dict[str, list[VmState]] = {}
        for vm in self._vms.values():
            for word in {vm.uuid, vm.name}:
                by_word.setdefault(word, []).append(vm)
        found: dict[str, VmState] = {}
        problems = []
        for word in words:
            matching = by_word.get(word, [])
            if len(matching) == 1:
                found[matching[0].uuid] = matching[0]
            else:
                problems.append(self._problem(word, matching))
        if problems:
            raise InvalidInputError("\n".join(dict.fromkeys(problems)))
        return list(found.values())

    def _problem(self, word: str, matching: list[VmState]) -> str:
        if matching:
            uuids = ", ".join(vm.uuid for vm in matching[:_SHOWN])
            return f"{len(matching)} VMs have the name {word!r}: give one's uuid ({uuids})"
        close = difflib.get_close_matches(word, [vm.name for vm in self._vms.values()], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`vmr vm list uuid` shows the VMs of this run"
        return f"no VM has the name or uuid {word!r}; {hint}"

    async def barrier(self, log: AsyncLog) -> BarrierState:
        """Return which VMs the experiment waits for."""
        state = BarrierState()
        for recorded in await read_merged(log, everywhere_filters(log.db), self._begin, self.position):
            state.apply(recorded)
        return state

    async def look(self, log: AsyncLog, vm: VmState) -> VmState:
        """Return how one VM stands: its state, whether it is waived, who handles it."""
        state = VmState(vm.uuid)
        events = [body.type_name().partition(".")[2] for body in _ABOUT_ONE]
        filters = [entity_subject(log.db, "vm", vm.uuid, event) for event in events]
        async for batch in log.read(filters, self._begin, self.position):
            for recorded in batch:
                state.apply(recorded)
        return state
