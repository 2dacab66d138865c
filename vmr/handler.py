"""The handler: one process per host that drives all of that host's VMs.

It folds the log (`vmr.roster`), runs one task per VM (`vmr.vm_task`), and reports the start when every VM of the experiment is ready.
It keeps nothing that the log and the guests do not have: killed at any moment, it is simply started again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from vmr.clock import Clock, SystemClock
from vmr.driver_guest import driver_guest
from vmr.errors import ConflictError, LogUnavailableError, PublishError
from vmr.eventlog import EventLog, read_merged, with_entries
from vmr.events import (
    ExperimentCleared,
    ExperimentLaunched,
    ExperimentStarted,
    HandlerAttached,
    HandlerDetached,
    Recorded,
    VmRemoved,
    VmStateSet,
    new_id,
)
from vmr.guest import Guest
from vmr.loading import Resources
from vmr.pace import Watch
from vmr.roster import Roster, every_vm, everywhere_filters, is_full_clear
from vmr.subjects import entity_subject
from vmr.vm_state import VmState, start_after
from vmr.vm_task import Surroundings, VmTask

logger = structlog.get_logger(__name__)

AGENT_ENGINE: Final = "QemuVM"
"""The engine whose guests are driven over their agent directly; those of any other are driven by its driver."""

MOST_RIVALS: Final = 20
"""How many handlers that take a VM at the same moment one handler outdoes before it leaves the VM to them."""

NEWCOMERS_SECONDS: Final = 0.05
"""VMs that are added within this time of each other are taken together, because each taking makes the handler follow anew."""


class Handler:
    """Drives the VMs of one host."""

    def __init__(
        self,
        log: EventLog,
        host: str,
        folder: Path,
        *,
        clock: Clock | None = None,
        connect: Callable[[VmState], Guest] | None = None,
    ) -> None:
        """Serve the VMs whose agents are on ``host``; keep copies of resources and files out of guests in ``folder``."""
        self._log = log
        self._host = host
        self._clock = clock or SystemClock()
        self.identity = f"{host}/{new_id()}"
        self._roster = Roster(log.db, host)
        self._started = entity_subject(log.db, "experiment", None, "started")
        self._resources = Resources(log, folder / "objects")
        self._around = Surroundings(
            log=log,
            clock=self._clock,
            handler=self.identity,
            resources=self._resources,
            transfers=folder / "transfers",
            host_programs=folder / "host",
            connect=connect or self._over_agent,
            watch=Watch(),
        )
        self._tasks: dict[str, VmTask] = {}
        self._attached: dict[str, int] = {}
        self._newcomers: dict[str, VmState] = {}
        self._arrived = asyncio.Event()
        self._first = 1
        self._position = 0
        self._caught_up = False
        self._reported: ExperimentLaunched | None = None
        self._last_started = 0
        self._group: asyncio.TaskGroup

    async def run(self) -> None:
        """Serve until cancelled; then let the VMs go, on the record."""
        last = await self._log.last_sequence()
        await self._look_back(last)
        logger.info("handler ready", host=self._host, vms=len(self._newcomers), identity=self.identity)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._follow_everywhere(last + 1))
                group.create_task(self._follow_own())
        finally:
            await self._detach()

    async def _look_back(self, last: int) -> None:
        """Learn where the present run begins, who is part of it, and who has attached which VM, up to ``last``."""
        async for recorded in self._history([entity_subject(self._log.db, "experiment", None, "cleared")], 1, last):
            if is_full_clear(recorded):
                self._first = recorded.sequence
        async for recorded in self._history([self._started], 1, last):
            self._last_started = recorded.sequence
        await self._learn_attachments(every_vm(self._log.db, HandlerAttached))
        if self._first <= last:
            for recorded in await read_merged(self._log, everywhere_filters(self._log.db), self._first, last):
                self._everywhere(recorded)
        self._position = last

    async def _learn_attachments(self, subject: str) -> None:
        async for recorded in self._history([subject], 1, await self._log.last_sequence()):
            if isinstance(recorded.event.body, HandlerAttached):
                self._attached[recorded.event.body.server_uuid] = recorded.sequence

    async def _history(self, filters: list[str], start: int, stop: int) -> AsyncIterator[Recorded]:
        if filters and start <= stop:
            async for batch in self._log.read(filters, start, stop):
                for recorded in batch:
                    yield recorded

    async def _follow_everywhere(self, start: int) -> None:
        async for batch in self._log.follow(everywhere_filters(self._log.db), start):
            for recorded in batch:
                self._everywhere(recorded)
            await self._report_start()

    def _everywhere(self, recorded: Recorded) -> None:
        if is_full_clear(recorded):
            self._first = recorded.sequence
        if recorded.subject == self._started:
            self._last_started = recorded.sequence
        vm = self._roster.apply_everywhere(recorded)
        if vm is not None:
            self._newcomers[vm.uuid] = vm
            self._arrived.set()
        elif isinstance(recorded.event.body, VmRemoved | ExperimentCleared):
            for task in list(self._tasks.values()):
                task.notify()

    async def _follow_own(self) -> None:
        """Follow this host's VMs; when VMs are added, catch up with them and follow the longer list from the same place."""
        while True:
            self._arrived.clear()
            await self._take_newcomers()
            await self._report_start()
            feed = asyncio.create_task(self._feed())
            arrival = asyncio.create_task(self._arrived.wait())
            try:
                await asyncio.wait({feed, arrival}, return_when=asyncio.FIRST_COMPLETED)
                if feed.done():
                    feed.result()
                await self._clock.sleep(NEWCOMERS_SECONDS)
            finally:
                arrival.cancel()
                feed.cancel()
                await asyncio.gather(feed, arrival, return_exceptions=True)

    async def _feed(self) -> None:
        # What an earlier run says of the same VMs is not theirs any more.
        self._position = max(self._position, self._first - 1)
        async for batch in self._log.follow(self._roster.filters_of_all(), self._position + 1):
            try:
                for recorded in batch:
                    await self._fold(recorded)
                    self._position = recorded.sequence  # at once: a cancelled feed goes on from here
            finally:
                self._notify(batch)
            await self._report_start()

    async def _take_newcomers(self) -> None:
        """Fold what is recorded of VMs that are new to this handler, then attach and drive them."""
        vms = list(self._newcomers.values())
        self._newcomers.clear()
        filters = self._roster.filters(vms) if self._caught_up else self._roster.filters_of_all()
        async for recorded in self._history(filters, self._first, self._position):
            await self._fold(recorded)
        self._caught_up = True
        await asyncio.gather(*(self._attach(vm) for vm in vms if vm.added and vm.state.lower() != "n/a"))

    async def _fold(self, recorded: Recorded) -> None:
        self._resources.apply(recorded)
        self._roster.apply(await with_entries(self._log, recorded))

    def _notify(self, batch: Sequence[Recorded]) -> None:
        for task in (
            list(self._tasks.values()) if any(_about_all(recorded) for recorded in batch) else self._touched(batch)
        ):
            task.notify()

    def _touched(self, batch: Sequence[Recorded]) -> list[VmTask]:
        about = {vm.uuid for recorded in batch if (vm := self._roster.vm_of(recorded.event.body)) is not None}
        return [self._tasks[uuid] for uuid in about if uuid in self._tasks]

    async def _attach(self, vm: VmState) -> None:
        """Take the VM: whoever attached it before sees this and lets go. Of two that do so at the same moment the later one has it."""
        attached = HandlerAttached(server_uuid=vm.uuid, handler=self.identity, host=self._host)
        for _ in range(MOST_RIVALS):
            try:
                sequence = await self._log.publish_expecting(attached, self._attached.get(vm.uuid, 0))
                break
            except ConflictError:
                # It may be the last word of a handler that is dead by now, so that nobody else would serve the VM.
                logger.warning("another handler took this VM at the same moment", vm=vm.name)
                await self._learn_attachments(entity_subject(self._log.db, "vm", vm.uuid, "handler_attached"))
        else:
            logger.error("other handlers take this VM again and again; it is left to them", vm=vm.name)
            return
        self._attached[vm.uuid] = sequence
        task = VmTask(vm, self._roster.experiment, self._around, sequence)
        self._tasks[vm.uuid] = task
        self._group.create_task(self._drive(task))

    async def _drive(self, task: VmTask) -> None:
        """Drive one VM; a defect that one VM's data brings to light must not end the others'."""
        try:
            await task.run()
        except (LogUnavailableError, PublishError):
            raise
        except Exception as error:
            logger.exception("this VM is given up: a defect of vmr", vm=task.vm.name)
            reason = f"a defect of vmr: {type(error).__name__}: {error}"
            with contextlib.suppress(ConflictError):  # then it is another handler's
                await task.publish(VmStateSet(server_uuid=task.vm.uuid, state="failed", reason=reason))
        finally:
            if self._tasks.get(task.vm.uuid) is task:
                del self._tasks[task.vm.uuid]

    async def _report_start(self) -> None:
        """Report the start when every VM is ready; the first report of a run wins, whichever handler makes it."""
        experiment = self._roster.experiment
        launched = experiment.launched
        if (
            launched is None
            or experiment.start is not None
            or launched is self._reported
            or not self._roster.barrier.ready
        ):
            return
        self._reported = launched
        start = start_after(self._clock.now(), launched.start_buffer)
        try:
            if self._last_started <= experiment.cleared:
                await self._log.publish_expecting(ExperimentStarted(start_time=start), self._last_started)
                logger.info("every VM is ready", start=start.isoformat())
        except ConflictError:
            logger.info("another handler reported the start first")

    async def _detach(self) -> None:
        bodies = [
            HandlerDetached(server_uuid=vm.uuid, handler=self.identity, reason="stopped")
            for vm in self._roster.vms.values()
            if vm.handler == self.identity
        ]
        await self._log.publish_many(bodies)

    def _over_agent(self, vm: VmState) -> Guest:
        assert vm.agent is not None
        if vm.agent.engine != AGENT_ENGINE:
            return driver_guest(vm, self._clock)
        return Guest(Path(vm.agent.path), vm.name, self._clock)


def _about_all(recorded: Recorded) -> bool:
    return recorded.event.type.startswith("experiment.")
