"""One VM's life with a handler: take it, connect, adopt what runs, then do what the planner says until there is nothing more.

The task acts only on what the log says: an action's events are recorded and folded before the next plan is made. Whatever breaks
(the agent's socket, the guest, this process), the next round begins from the log and the guest's spool.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from vmr import planner, spool
from vmr.attempts import AttemptRunner
from vmr.clock import Clock
from vmr.errors import AgentDisconnectedError, AgentTimeoutError, ConflictError, DataError, GuestError
from vmr.eventlog import EventLog, Fence
from vmr.events import (
    EntryFailed,
    EntryFinished,
    EntryStarted,
    HandlerAttached,
    KnownBody,
    VmRebooted,
    VmStateSet,
    VmTimeTicked,
    VmWaived,
    subject_of,
)
from vmr.guest import Guest
from vmr.host_guest import HostGuest
from vmr.loading import Resources, load, load_on_host
from vmr.pace import Watch
from vmr.schedule import Entry, format_time
from vmr.transfers import TransferTask
from vmr.vm_state import EntryState, ExperimentState, VmState

logger = structlog.get_logger(__name__)

CONNECT_SECONDS: Final = 30.0
LONGEST_PAUSE: Final = 5.0
"""Seconds between tries to reach a guest whose agent does not answer; they double up to this."""
CLOCK_TICK: Final = 1e-6
"""Seconds that the wall clock can tell apart, as a datetime."""
MOST_REFUSALS: Final = 8
"""A guest whose agent answers, and so often not what was asked, is given up: its VM fails."""


class Surroundings(msgspec.Struct, frozen=True):
    """What all VM tasks of a handler share.

    Attributes:
        log: the log.
        clock: time.
        handler: the handler's identity.
        resources: files for guests.
        transfers: folder for files copied out of guests.
        host_programs: folder for programs of schedules that run on this host.
        watch: what all attempts share.
        connect: makes a guest from its VM's state.

    """

    log: EventLog
    clock: Clock
    handler: str
    resources: Resources
    transfers: Path
    host_programs: Path
    connect: Callable[[VmState], Guest]
    watch: Watch


class VmTask:
    """Drives one VM."""

    def __init__(self, vm: VmState, experiment: ExperimentState, around: Surroundings, attached: int) -> None:
        """Drive ``vm``, which the handler has attached with the event of sequence ``attached``."""
        self.vm = vm
        self._experiment = experiment
        self._around = around
        self._clock = around.clock
        self._changed = asyncio.Event()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._serial = itertools.count()
        self._recording: set[asyncio.Task[int]] = set()
        self._recorded = attached
        self._fence = Fence(
            subject_of(around.log.db, HandlerAttached(server_uuid=vm.uuid, handler="", host="")), attached
        )
        self._fenced_off = False
        self._guest = around.connect(vm)
        self._host = HostGuest(around.host_programs / vm.run, vm.name, around.clock)
        self._boot = ""
        self._loaded: dict[str, Entry] = {}
        self._transfers: dict[str, TransferTask] = {}
        self._group: asyncio.TaskGroup
        self._work: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self._refusals = 0
        self._log = logger.bind(vm=vm.name)

    def notify(self) -> None:
        """Say that the fold of this VM, or of the experiment, has gone on."""
        self._changed.set()
        while self._waiters and (self._waiters[0][0] <= self.vm.sequence or not self.vm.added):
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    @property
    def ours(self) -> bool:
        """Whether the VM is still part of the experiment and no other handler has taken it."""
        return self.vm.added and not self._fenced_off and self.vm.handler == self._around.handler

    async def run(self) -> None:
        """Drive the VM, which this handler has attached, for as long as it is ours."""
        try:
            await self._folded(self._recorded)  # what another handler recorded before it was fenced off comes first
            while self.ours and not self._experiment.ended:
                try:
                    await self._serve()
                except* (AgentDisconnectedError, AgentTimeoutError) as errors:
                    self._unanswered += 1
                    self._report(errors.exceptions[0])
                except* ConflictError:
                    self._log.info("another handler has taken this VM")
                except* (GuestError, DataError) as errors:
                    self._refusals += 1
                    self._log.warning(
                        "the guest does not do what is asked", tries=self._refusals, error=str(errors.exceptions[0])
                    )
                _heed_cancellation()
                await self._settle()
                await self._folded(self._recorded)
                await self._give_up_or_pause()
        except ConflictError:
            self._log.info("another handler has taken this VM")
        finally:
            await self._settle()
            await self._guest.close()

    async def _give_up_or_pause(self) -> None:
        """Pause before the next connection. An agent that is away may be so for hours; one that answers nonsense is given up."""
        if self._refusals > MOST_REFUSALS:
            reason = "the guest's agent does not do what is asked (see the handler's log)"
            await self.publish(VmStateSet(server_uuid=self.vm.uuid, state="failed", reason=reason))
            self._refusals = 0
        tries = self._unanswered + self._refusals
        if tries and self.ours:
            await self._clock.sleep(min(LONGEST_PAUSE, 0.1 * 2 ** min(tries, 10)))

    def _report(self, error: BaseException) -> None:
        if self._unanswered & (self._unanswered - 1) == 0:  # at 1, 2, 4, 8…: it may take hours
            self._log.warning(
                "the guest's agent does not answer; trying again", tries=self._unanswered, error=str(error)
            )

    async def _serve(self) -> None:
        """One connection to the guest, from its first answer to its loss or the end."""
        await self._guest.connect(CONNECT_SECONDS)
        await self._enter()
        self._unanswered = 0
        self._work.clear()
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._adopt()
            await self._drive()
            for task in list(self._work):
                task.cancel()
        if self.ours:
            await self._conclude_copies()

    async def _conclude_copies(self) -> None:
        """At the end of the run: copies at an interval have had their last."""
        going = [state for state in self.vm.entries.values() if state.running and state.entry.transfer is not None]
        uuid = self.vm.uuid
        await self.publish(
            *(
                EntryFinished(server_uuid=uuid, entry=state.entry.id, attempt=state.attempts[-1].number)
                for state in going
            )
        )

    async def _enter(self) -> None:
        """Learn which boot this is; record a reboot that nobody recorded."""
        boot = await self._guest.begin(self.vm.run)
        if boot != self._boot:
            self._loaded.clear()
        if self.vm.boot_id and boot and boot != self.vm.boot_id:
            asked = tuple(state.entry.id for state in self.vm.entries.values() if state.wants_reboot)
            await self.publish(VmRebooted(server_uuid=self.vm.uuid, entries=asked, boot_id=boot))
        self._boot = boot

    async def _adopt(self) -> None:
        """Go on with what is recorded as started."""
        running = [state for state in self.vm.entries.values() if state.running]
        programs = [state for state in running if _runs_program(state)]
        if programs:
            found = [*await self._probe(programs, on_host=False), *await self._probe(programs, on_host=True)]
            programs.sort(key=lambda state: state.entry.on_host)
            for state, probe in zip(programs, found, strict=True):
                if probe == "absent":
                    await self._load([state])
                if state.running:
                    self._spawn(self._runner(state).adopt(probe))
        for state in running:
            if not _runs_program(state) and not _holds(state):
                self._spawn(self._without_program(state))

    async def _probe(self, states: list[EntryState], *, on_host: bool) -> list[spool.Probe]:
        """Return how the last attempts of those of ``states`` stand that run on the host, or in the guest."""
        attempts = [
            (self._directory(state), state.attempts[-1].number) for state in states if state.entry.on_host == on_host
        ]
        return await (self._host if on_host else self._guest).probe(attempts) if attempts else []

    def _directory(self, state: EntryState) -> str:
        on_host = state.entry.on_host
        return self._host.directory(state.path) if on_host else self._guest.dialect.working_directory(state.path)

    async def _drive(self) -> None:
        while self.ours and not self._experiment.ended:
            self._changed.clear()
            await self._load_new()
            plan = planner.plan(self.vm, self._experiment, self._clock.now())
            if plan.actions:
                await self._act(plan.actions)
            else:
                await self._wait(plan.wake)

    async def _wait(self, wake: datetime | None) -> None:
        """Wait for the fold to go on, or for the planner's next time."""
        if wake is None:
            await self._changed.wait()
            return
        # The planner's times are finer than a datetime: it may ask to be woken in less than the clock can tell.
        left = max((wake - self._clock.now()).total_seconds(), CLOCK_TICK)
        # An alarm, and no task that sleeps: when the start wakes thousands of VMs at once, making two tasks for each takes too long.
        alarm = self._clock.call_later(left, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            alarm.cancel()

    async def _act(self, actions: tuple[planner.Action, ...]) -> None:
        await self.publish(*(body for action in actions if (body := self._event_of(action)) is not None))
        launched = [self.vm.entries[action.entry] for action in actions if isinstance(action, planner.Launch)]
        # A schedule that was recorded just before the start may have replaced what had been loaded.
        await self._load([state for state in launched if len(state.attempts) == 1 and self._differs(state)])
        for action in actions:
            match action:
                case planner.Launch(entry=entry) if self.vm.entries[entry].running:
                    self._start(self.vm.entries[entry])
                case planner.Reboot(entries=entries):
                    await self._reboot(entries)
                case _:
                    pass

    def _event_of(self, action: planner.Action) -> KnownBody | None:
        uuid = self.vm.uuid
        match action:
            case planner.SetState(state=state, reason=reason):
                self._log.info("state", state=state, **({"reason": reason} if reason else {}))
                return VmStateSet(server_uuid=uuid, state=state, reason=reason)
            case planner.Waive(reason=reason):
                self._log.warning("the experiment does not wait for this VM", reason=reason)
                return VmWaived(server_uuid=uuid, reason=reason)
            case planner.Tick(current_time=time):
                return VmTimeTicked(server_uuid=uuid, current_time=time)
            case planner.Launch(entry=entry, attempt=attempt, due=due):
                return self._started(self.vm.entries[entry], attempt, due)
            case planner.BeginHold(entry=entry, due=due):
                return self._started(self.vm.entries[entry], 1, due)
            case planner.EndHold(entry=entry):
                return EntryFinished(server_uuid=uuid, entry=entry, attempt=1)
            case planner.Reboot():
                return None

    def _started(self, state: EntryState, attempt: int, due: datetime | None) -> EntryStarted:
        return EntryStarted(
            server_uuid=self.vm.uuid,
            entry=state.entry.id,
            attempt=attempt,
            name=state.entry.name,
            start_time=format_time(state.entry.start_time),
            due=due,
            directory=self._directory(state) if _runs_program(state) else "",
            boot_id=self._boot,
        )

    def _start(self, state: EntryState) -> None:
        self._spawn(self._runner(state).launch() if _runs_program(state) else self._without_program(state))

    def _runner(self, state: EntryState) -> AttemptRunner:
        around = self._around
        guest = self._host if state.entry.on_host else self._guest
        return AttemptRunner(
            self.vm.uuid, guest, self._directory(state), self._clock, self.publish, state, around.watch
        )

    async def _without_program(self, state: EntryState) -> None:
        """Carry out an entry that runs nothing in the guest: files that are loaded by now, or copies out of it."""
        number = state.attempts[-1].number
        error = ""
        if state.entry.transfer is not None:
            error = await self._transfer(state, state.entry.transfer.interval)
        uuid, entry = self.vm.uuid, state.entry.id
        await self.publish(
            EntryFailed(server_uuid=uuid, entry=entry, attempt=number, error=error)
            if error
            else EntryFinished(server_uuid=uuid, entry=entry, attempt=number)
        )

    async def _transfer(self, state: EntryState, interval: float | None) -> str:
        """Copy out once, or at an interval until the run ends; return why it cannot be done, or nothing."""
        task = self._transfers.get(state.entry.id)
        if task is None:
            task = TransferTask(self.vm.uuid, self.vm.name, state.entry, self._around.transfers)
            self._transfers[state.entry.id] = task
        while True:
            try:
                copied = await task.copy(self._guest)
            except GuestError:
                raise
            except (OSError, DataError) as error:
                return str(error)
            await self.publish(*copied)
            if interval is None:
                return "" if task.found else f"there is no file at {task.pattern} in the guest"
            await self._clock.sleep(interval)

    async def _load_new(self) -> None:
        """Load until nothing is left to load: what arrives meanwhile must not be planned before it is in the guest, too."""
        while wanted := self._unloaded():
            await self._load(wanted)

    def _unloaded(self) -> list[EntryState]:
        if self.vm.state == "uninitialized":
            return []
        entries = self.vm.entries.values()
        return [each for each in entries if not each.attempts and not each.withdrawn and self._differs(each)]

    def _differs(self, state: EntryState) -> bool:
        """Whether the entry as it is now has not been loaded: it is new, or it was replaced."""
        loaded = self._loaded.get(state.entry.id)
        return loaded is not state.entry and loaded != state.entry

    async def _load(self, wanted: list[EntryState]) -> None:
        if not wanted:
            return
        entries = {state.entry.id: state.entry for state in wanted}  # they may be replaced meanwhile
        failed = await load(self._guest, self._around.resources, [each for each in wanted if not each.entry.on_host])
        for state in wanted:
            if state.entry.on_host and (error := await load_on_host(self._host, self._around.resources, state)):
                failed[state.entry.id] = error
        self._loaded |= entries
        uuid = self.vm.uuid
        if failed:
            self._log.error("files cannot be loaded", entries=failed)
            numbers = {state.entry.id: max(1, len(state.attempts)) for state in wanted}
            await self.publish(
                *(
                    EntryFailed(server_uuid=uuid, entry=entry, attempt=numbers[entry], error=error)
                    for entry, error in failed.items()
                )
            )

    async def _reboot(self, entries: tuple[str, ...]) -> None:
        self._log.info("rebooting", entries=list(entries))
        try:
            self._boot = await self._guest.reboot(self.vm.run, self._boot)
        except AgentTimeoutError as error:
            await self.publish(VmStateSet(server_uuid=self.vm.uuid, state="failed", reason=str(error)))
            return
        await self.publish(VmRebooted(server_uuid=self.vm.uuid, entries=entries, boot_id=self._boot))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def publish(self, *bodies: KnownBody) -> None:
        """Record events and return when the fold has them.

        Being cancelled does not take back what is on its way: `_settle` waits for it, so that no one acts on an older fold.
        """
        if bodies:
            task = asyncio.create_task(self._record(bodies))
            self._recording.add(task)
            task.add_done_callback(self._recording.discard)
            await self._folded(await asyncio.shield(task))

    async def _record(self, bodies: tuple[KnownBody, ...]) -> int:
        try:
            last = max(await self._around.log.publish_many(bodies, fence=self._fence))
        except ConflictError:
            self._fenced_off = True
            raise
        self._recorded = max(self._recorded, last)
        return last

    async def _folded(self, sequence: int) -> None:
        """Return when the fold has come to ``sequence``, or the VM is not followed any more."""
        if self.vm.sequence < sequence and self.vm.added:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiters, (sequence, next(self._serial), future))
            await future

    async def _settle(self) -> None:
        """Return when nothing that was published is on its way."""
        while self._recording:
            done, _ = await asyncio.wait(set(self._recording))
            for task in done:
                if not isinstance(task.exception(), ConflictError):
                    task.result()


def _heed_cancellation() -> None:
    """Raise `asyncio.CancelledError` when this task has been cancelled: before Python 3.13 a task group that fails hides it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _runs_program(state: EntryState) -> bool:
    return state.entry.executable is not None


def _holds(state: EntryState) -> bool:
    return state.entry.pause is not None or state.entry.resume
