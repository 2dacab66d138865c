"""One VM driven by itself: what `vmr.vm_resource_handler` does on the log's loop.

It runs a whole `vmr.handler.Handler` for this one VM, or single entries of a schedule at once, with the same records as
a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmr.attempts import AttemptRunner, Publish
from vmr.clock import SystemClock
from vmr.driver_guest import DriverGuest
from vmr.errors import UnknownVmError
from vmr.events import (
    AgentAddress,
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentCleared,
    KnownBody,
    Recorded,
    Unknown,
    VmAdded,
    VmRebooted,
    VmRemoved,
    VmStateSet,
    VmTimeTicked,
)
from vmr.guest import Guest
from vmr.handler import Handler
from vmr.host_guest import HostGuest
from vmr.loading import Resources, load, load_on_host
from vmr.log import AsyncLog
from vmr.roster import RESOURCES, is_full_clear
from vmr.schedule import Entry, Transfer, format_time
from vmr.subjects import entity_subject
from vmr.transfers import TransferTask
from vmr.vm_state import Attempt, EntryState, VmState

CONNECT_SECONDS: Final = 30.0

Ended = EntryFinished | EntryFailed | EntryLost
Tell = Callable[[KnownBody | Unknown], None]


class OneVm:
    """One VM of one database, over its guest. The methods run on the log's loop."""

    def __init__(self, uuid: str, name: str, guest: DriverGuest, folder: Path, tell: Tell) -> None:
        """Drive the VM ``uuid`` over ``guest``; copies of files go to ``folder``, every event of the VM to ``tell``."""
        self._uuid = uuid
        self._name = name
        self._guest = guest
        self._folder = folder
        self._tell = tell
        self._connected = asyncio.Lock()
        self._transfers: dict[str, TransferTask] = {}
        self._clock = SystemClock()

    async def drive(self, log: AsyncLog, agent: AgentAddress) -> None:
        """Run a handler for this VM alone until cancelled; the host that ``agent`` names has no other VM."""
        known = await self._known(log)
        if known.added != agent:
            await log.publish(
                VmAdded(
                    server_uuid=self._uuid,
                    server_name=known.name,
                    control_ip=known.control_ip,
                    state=known.state,
                    current_time=known.current_time,
                    agent=agent,
                )
            )
        handler = Handler(log, agent.host, self._folder, connect=self._connect)
        start = await log.last_sequence() + 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observe(log, start))
            group.create_task(handler.run())

    async def run_entry(self, log: AsyncLog, entry: Entry) -> Ended:
        """Load an entry's files and run its program now, once more than the log says it ran; return how that ended."""
        known = await self._known(log)
        path, number = known.next_attempt(entry)
        state = EntryState(entry, path, datetime.now(UTC))
        state.attempts = [Attempt(each, started=datetime.now(UTC)) for each in range(1, number + 1)]
        outcome: list[Ended] = []

        async def publish(*bodies: KnownBody) -> None:
            await log.publish_many(bodies)
            for body in bodies:
                self._tell(body)
                if isinstance(body, EntryFinished | EntryFailed | EntryLost):
                    outcome.append(body)

        if entry.on_host:
            host = HostGuest(self._folder / "host" / known.run, self._name, self._clock)
            await publish(self._started(state, host.directory(path)))
            error = await load_on_host(host, await self._resources(log), state)
            await self._launch(host, host.directory(path), publish, state, error)
        else:
            async with self.in_guest(known.run) as (guest, boot):
                directory = guest.dialect.working_directory(path)
                await publish(self._started(state, directory, boot))
                failed = await load(guest, await self._resources(log), [state])
                await self._launch(guest, directory, publish, state, failed.get(entry.id, ""))
        return outcome[-1]

    async def _launch(
        self, guest: Guest | HostGuest, directory: str, publish: Publish, state: EntryState, error: str
    ) -> None:
        """Stay with an entry's last attempt to its end, unless ``error`` says why it cannot be launched."""
        entry, number = state.entry, state.attempts[-1].number
        if error:
            await publish(EntryFailed(server_uuid=self._uuid, entry=entry.id, attempt=number, error=error))
        elif entry.executable is None:
            await publish(EntryFinished(server_uuid=self._uuid, entry=entry.id, attempt=number))
        else:
            await AttemptRunner(self._uuid, guest, directory, self._clock, publish, state).launch()

    async def transfer(self, log: AsyncLog, entry: str, transfer: Transfer, root: Path) -> bool:
        """Copy files out of the guest that are new since the last such call; return whether there ever was one."""
        task = self._transfers.get(entry)
        if task is None:
            whole = Entry(id=entry, start_time=-1, transfer=transfer)
            task = self._transfers[entry] = TransferTask(self._uuid, self._name, whole, root)
        known = await self._known(log)
        async with self.in_guest(known.run) as (guest, _):
            copied = await task.copy(guest)
        await log.publish_many(copied)
        return task.found

    async def reboot(self, log: AsyncLog) -> None:
        """Reboot the guest and return when its agent answers again."""
        known = await self._known(log)
        async with self.in_guest(known.run) as (guest, boot):
            now = await guest.reboot(known.run, boot)
        await log.publish(VmRebooted(server_uuid=self._uuid, boot_id=now))

    @asynccontextmanager
    async def in_guest(self, run: str) -> AsyncIterator[tuple[Guest, str]]:
        """Yield the guest, connected and begun, and the identity of its boot."""
        async with self._connected:
            await self._guest.connect(CONNECT_SECONDS)
            boot = await self._guest.begin(run)
        yield self._guest, boot

    def _connect(self, vm: VmState) -> Guest:
        assert vm.uuid == self._uuid
        return self._guest

    async def _observe(self, log: AsyncLog, start: int) -> None:
        async for batch in log.follow([entity_subject(log.db, "vm", self._uuid, ">")], start):
            for recorded in batch:
                self._tell(recorded.event.body)

    def _started(self, state: EntryState, directory: str, boot: str = "") -> EntryStarted:
        return EntryStarted(
            server_uuid=self._uuid,
            entry=state.entry.id,
            attempt=state.attempts[-1].number,
            name=state.entry.name,
            start_time=format_time(state.entry.start_time),
            directory=directory,
            boot_id=boot,
        )

    async def _resources(self, log: AsyncLog) -> Resources:
        resources = Resources(log, self._folder / "objects")
        async for batch in log.read([entity_subject(log.db, "resource", RESOURCES, ">")]):
            for recorded in batch:
                resources.apply(recorded)
        return resources

    async def _known(self, log: AsyncLog) -> _Known:
        """Return what the log says of the VM. Raises `UnknownVmError` when it is not part of the experiment."""
        wanted = (VmAdded, VmRemoved, VmStateSet, VmTimeTicked, EntryStarted)
        events = (body.type_name().partition(".")[2] for body in wanted)
        filters = [entity_subject(log.db, "vm", self._uuid, event) for event in events]
        cleared = entity_subject(log.db, "experiment", None, ExperimentCleared.type_name().partition(".")[2])
        known = _Known()
        async for batch in log.read([*filters, cleared]):
            for recorded in batch:
                known.apply(recorded)
        if not known.present:
            raise UnknownVmError(f"no VM has the uuid {self._uuid!r}: add it first, or was it removed?")
        return known


class _Known:
    """What the log says of one VM, as far as `OneVm` needs it."""

    def __init__(self) -> None:
        self.present = False
        self.run = ""
        self.name = self.control_ip = self.state = self.current_time = ""
        self.added: AgentAddress | None = None
        self._started: dict[str, EntryStarted] = {}

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        match recorded.event.body:
            case VmAdded() as body:
                self.run, self.present = self.run or recorded.event.id, True
                self.name, self.control_ip, self.added = body.server_name, body.control_ip, body.agent
                self.state, self.current_time = body.state, body.current_time
            case VmRemoved():
                self.run, self.present = "", False
            case VmStateSet(state=state):
                self.state = state
            case VmTimeTicked(current_time=current_time):
                self.current_time = current_time
            case EntryStarted() as body:
                self._started[body.entry] = body
            case ExperimentCleared(scope=scope) if "vms" in scope:
                self.run, self.present = "", False
                if is_full_clear(recorded):
                    self._started.clear()
            case _:
                pass

    def next_attempt(self, entry: Entry) -> tuple[str, int]:
        """Return the place (``<time>/<name>``) and the number of the entry's next attempt."""
        before = self._started.get(entry.id)
        if before is not None and before.directory:
            return "/".join(before.directory.split("/")[-2:]), before.attempt + 1
        taken = {started.directory for started in self._started.values()}
        base = path = f"{format_time(entry.start_time)}/{entry.name}"
        number = 0
        while any(directory.endswith(f"/{path}") for directory in taken):
            number += 1
            path = f"{base}_{number}"
        return path, 1
