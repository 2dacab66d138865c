"""A simulated experiment: log, guests, handlers and people in one event loop with simulated time."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from tests.handler.simulation.scenario import Program, Scenario, Trouble, Vm
from vmr.events import (
    AgentAddress,
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentLaunched,
    ExperimentPaused,
    ExperimentResumed,
    ResourceUploaded,
    SchedulePublished,
    VmAdded,
    VmStateSet,
)
from vmr.handler import Handler
from vmr.roster import RESOURCES
from vmr.testing import Behaviour, Output, SimulatedProgram
from vmr.testing.loop import LoopClock, SimulatedLoop, SimulatedProcess
from vmr.testing.memory_log import MemoryLog
from vmr.testing.wire import Wire, WiredGuest, WiredHost

HOST: Final = "host"
BLOB: Final = bytes(range(256)) * 40
DEADLINE: Final = 1500.0
"""Simulated seconds after which an experiment that is not complete is taken for hung."""

Conclusion: TypeAlias = EntryFinished | EntryLost | EntryFailed

_LOOK: Final = 1.0
_MOST_STEPS: Final = 600_000


@dataclass
class Execution:
    """One execution of a program in a guest, as the guest itself saw it."""

    vm: str
    word: str
    attempt: int
    directory: str
    begin: float
    end: float
    interrupted: bool = False
    killed: bool = False
    process: tuple[int, int] = (0, 0)
    missing: list[str] = field(default_factory=list)


@dataclass
class Running:
    """A handler with what connects it to the world."""

    handler: Handler
    process: SimulatedProcess
    log: MemoryLog
    wires: list[Wire]
    alive: bool = True


class World:
    """The experiment of one scenario. `run` it, then look at ``log``, ``executions`` and ``notes``."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.loop = SimulatedLoop(most_steps=_MOST_STEPS)
        self.clock = LoopClock(self.loop)
        self.executions: list[Execution] = []
        self.notes: list[str] = []
        self.violations: list[str] = []
        self.finished_at = -1.0
        self._ids = 0
        self._over = False
        self.log = MemoryLog("sim", producer="people", clock=self.clock, ids=self._next_id)
        delay = self._delay("agent", scenario.agent_delay)
        repeats = Random(f"{scenario.seed}/repeats")
        repeat = (lambda: repeats.random() < scenario.repeats) if scenario.repeats else None
        self.host = WiredHost((vm.name for vm in scenario.vms), None, self.clock, delay=delay, repeat=repeat)
        self._log_delay = self._with_outages(self._delay("log", scenario.log_delay))
        self._handlers: list[Running] = []
        self._background: list[asyncio.Task[None]] = []
        self._folder: Path | None = None
        for vm in scenario.vms:
            self._furnish(vm)

    # --- guests ---------------------------------------------------------------------------------------------------------

    def _furnish(self, vm: Vm) -> None:
        """Have the guest run the scenario's programs, and note what it does."""
        machine = self.host.guests[vm.name].machine
        programs = {f"* {word}": SimulatedProgram(stdout=word) for word in vm.programs}
        machine.behaviour = Behaviour(programs, boot_seconds=vm.boot_seconds, socket=vm.socket)
        machine.files.create("/root/report", data=b"all is well\n")
        begin, power_off, kill = machine.begin, machine.power_off, machine.kill

        def begin_noted(program: SimulatedProgram = SimulatedProgram(), sink: Any = None) -> int:  # noqa: B008
            number = getattr(sink, "_number", None)
            if number is None:
                return begin(program, sink)
            execution = self._note_execution(vm, program.stdout, number, sink._directory)
            pid = begin(_simulated(vm.programs[program.stdout], number), sink)
            execution.process = machine.boots, pid
            return pid

        def kill_noted(pid: int) -> None:
            for each in self._going(vm):
                if each.process == (machine.boots, pid):
                    each.killed, each.end = True, self.loop.time()
            kill(pid)

        def power_off_noted() -> None:
            for each in self._going(vm):
                each.interrupted, each.end = True, self.loop.time()
            power_off()

        machine.begin = begin_noted  # type: ignore[method-assign]
        machine.power_off = power_off_noted  # type: ignore[method-assign]
        machine.kill = kill_noted  # type: ignore[method-assign]

    def _going(self, vm: Vm) -> list[Execution]:
        now = self.loop.time()
        return [each for each in self.executions if each.vm == vm.name and each.end > now and not each.interrupted]

    def _note_execution(self, vm: Vm, word: str, attempt: int, directory: str) -> Execution:
        now = self.loop.time()
        execution = Execution(vm.name, word, attempt, directory, now, now + vm.programs[word].duration)
        entry = next(each for each in vm.all_entries() if each.arguments == word)
        files = self.host.guests[vm.name].files
        for file in entry.files:
            path = file.location if file.location.startswith("/") else f"{directory}/{file.location}"
            wanted = BLOB if file.content is None else file.content.encode()
            if not files.exists(path) or files.read(path) != wanted or files.file(path).executable != file.executable:
                execution.missing.append(path)
        self.executions.append(execution)
        self.note(f"{vm.name} executes {word} attempt {attempt}")
        return execution

    # --- handlers -------------------------------------------------------------------------------------------------------

    def start_handler(self) -> None:
        """Start one more handler on the host, with connections of its own."""
        log = self.log.connect(f"handler {len(self._handlers)}", delay=self._log_delay)
        wires: list[Wire] = []
        handler = Handler(
            log,
            HOST,
            self._folder or Path("/nonexistent"),
            clock=self.clock,
            connect=lambda vm: WiredGuest(self.host, vm.name, self.clock, wires),
        )
        process = SimulatedProcess(self.loop, handler.run())
        running = Running(handler, process, log, wires)
        self._handlers.append(running)
        self.note(f"handler {len(self._handlers) - 1} begins")
        process.task.add_done_callback(lambda task: self._handler_over(running, task))

    def _handler_over(self, running: Running, task: asyncio.Task[Any]) -> None:
        if running.alive:
            running.alive = False
            why = "cancelled" if task.cancelled() else repr(task.exception())
            self.violations.append(f"a handler ended by itself: {why}")
            error = None if task.cancelled() else task.exception()
            if error is not None:
                import traceback  # noqa: PLC0415

                self.violations.append("".join(traceback.format_exception(error)))

    def kill(self, running: Running, arrives: float, late: float | None = None) -> None:
        """End a handler as SIGKILL does. Of what it has sent, agents get a part, and the log what is under way after ``late`` seconds."""
        if not running.alive:
            return
        self.note(f"handler {self._handlers.index(running)} is killed")
        running.alive = False
        arrive = running.log.cut()
        if late is not None:
            self.loop.call_later(late, arrive)
        for wire in running.wires:
            unread = wire.cut(arrives)
            if unread and arrives > 0.3:
                self._later(self._agent_dies(wire))
        running.process.kill()

    async def _agent_dies(self, wire: Wire) -> None:
        """End the agent that has a reply which nobody reads, as that ends an agent that listens on a Unix socket."""
        for vm in self.scenario.vms:
            if vm.socket == "process" and wire.name == vm.name:
                await self.host.restart_agent(vm.name)

    async def stop(self, running: Running) -> None:
        """End a handler as SIGTERM does, and wait for it."""
        if running.alive:
            self.note(f"handler {self._handlers.index(running)} is told to stop")
            running.alive = False
            running.process.task.cancel()
            try:
                async with asyncio.timeout(120):
                    await asyncio.wait({running.process.task})
            except TimeoutError:
                self.violations.append("a handler that was told to stop has not stopped after 120 s")
                self.kill_quietly(running)
            else:
                if not running.process.task.cancelled() and running.process.task.exception() is not None:
                    self.violations.append(
                        f"a handler that was told to stop failed: {running.process.task.exception()!r}"
                    )

    def kill_quietly(self, running: Running) -> None:
        """End a handler whose work is over."""
        running.alive = True
        self.kill(running, 0.0)

    # --- the experiment -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the experiment to its end."""
        if any(entry.transfer is not None for vm in self.scenario.vms for entry in vm.all_entries()):
            self._folder = Path(tempfile.mkdtemp(prefix="vmr-sim-"))
        try:
            with self.loop:
                self.loop.run_until_complete(self._main())
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder)
        self.violations += [f"in the event loop: {failure}" for failure in self.loop.failures]

    async def _main(self) -> None:
        if self.scenario.handler_first:
            self.start_handler()
        await self._publish_experiment()
        if not self.scenario.handler_first:
            self.start_handler()
        for trouble in self.scenario.troubles:
            self._plan(trouble)
        for vm in self.scenario.vms:
            self._later(self._change(vm))
        await self._await_completion()
        self._over = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for running in list(self._handlers):
            await self.stop(running)

    async def _publish_experiment(self) -> None:
        ref = await self.log.put_object(BLOB)
        await self.log.publish(ResourceUploaded(store=RESOURCES, name="blob", object=ref))
        for vm in self.scenario.vms:
            await self.log.publish(VmAdded(server_uuid=vm.uuid, server_name=vm.name, agent=AgentAddress(HOST, "wire")))
        if self.scenario.bystander:
            await self.log.publish(VmAdded(server_uuid="uuid-other", server_name="other", state="n/a"))
        for vm in self.scenario.vms:
            await self.log.publish(SchedulePublished(server_name=vm.name, entries=vm.entries))
        await self.log.publish(
            ExperimentLaunched(launch_time=self.clock.now(), start_buffer=self.scenario.start_buffer)
        )

    async def _change(self, vm: Vm) -> None:
        entries = list(vm.entries)
        for change in vm.changes:
            await asyncio.sleep(change.at - self.loop.time())
            others = {entry.id: entry for entry in change.replace}
            entries = [others.get(entry.id, entry) for entry in entries if entry.id not in change.withdraw]
            entries += change.append
            self.note(f"the schedule of {vm.name} is changed")
            await self.log.publish(SchedulePublished(server_name=vm.name, entries=tuple(entries)))

    async def _await_completion(self) -> None:
        """Wait until everything is concluded, resuming breaks now and then, and a little longer."""
        looks = 0
        while not self.complete():
            await asyncio.sleep(_LOOK)
            looks += 1
            if looks % 7 == 0 and looks > 14:
                await self.log.publish(ExperimentResumed())
            if self.loop.time() > DEADLINE:
                self.violations.append(f"not complete after {DEADLINE:g} s: {self.left()}")
                return
        self.finished_at = self.loop.time()
        last = max((change.at for vm in self.scenario.vms for change in vm.changes), default=0.0)
        await asyncio.sleep(max(3.0, last - self.loop.time() + 1))
        if not self.complete():
            await self._await_completion()

    def complete(self) -> bool:
        """Return whether every entry that has to run is concluded."""
        return not self.left()

    def left(self) -> list[str]:
        """Return what is not concluded."""
        ends: dict[tuple[str, str], list[Conclusion]] = {}
        started: set[tuple[str, str]] = set()
        published: dict[str, dict[str, bool]] = {}
        for recorded in self.log.records:
            match recorded.event.body:
                case EntryStarted() as body:
                    started.add((body.server_uuid, body.entry))
                case EntryFinished() | EntryLost() | EntryFailed() as body:
                    ends.setdefault((body.server_uuid, body.entry), []).append(body)
                case SchedulePublished(server_name=name, entries=entries):
                    known = published.setdefault(name, {})
                    known.update(dict.fromkeys(known, False))
                    known.update({entry.id: True for entry in entries})
                case _:
                    pass
        return [
            f"{vm.name} {entry}"
            for vm in self.scenario.vms
            for entry, wanted in published[vm.name].items()
            if (wanted or (vm.uuid, entry) in started) and not _over(vm, entry, ends.get((vm.uuid, entry), []))
        ] + ([] if any(isinstance(r.event.body, VmStateSet) for r in self.log.records) else ["no state yet"])

    # --- troubles -------------------------------------------------------------------------------------------------------

    def _plan(self, trouble: Trouble) -> None:
        if trouble.kind in ("kill", "stop", "rival") and trouble.steps:
            self.loop.interrupt(trouble.steps, lambda: self._befall(trouble))
        else:
            self._later(self._wait_and(trouble))

    async def _wait_and(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.at)
        self._befall(trouble)

    def _befall(self, trouble: Trouble) -> None:
        if self._over or (self.finished_at >= 0 and trouble.kind not in ("kill", "stop", "rival")):
            return
        self.note(f"trouble: {trouble}")
        if trouble.kind in ("kill", "stop", "rival"):
            self._befall_handlers(trouble)
        elif trouble.kind == "pause":
            duration = None if trouble.seconds == float("inf") else trouble.seconds
            self._later(self._publish(ExperimentPaused(duration=duration)))
        else:
            self._befall_guest(trouble, self.scenario.vms[trouble.vm].name)

    def _befall_handlers(self, trouble: Trouble) -> None:
        match trouble.kind:
            case "kill":
                for running in list(self._handlers):
                    self.kill(running, trouble.part, trouble.late)
                self._later(self._start_after(trouble.seconds))
            case "stop":
                self._later(self._stop_and_start(trouble.seconds))
            case _:
                self._later(self._start_after(0.0))

    def _befall_guest(self, trouble: Trouble, vm: str) -> None:
        match trouble.kind:
            case "reset":
                self._later(self.host.reset(vm))
            case "agent":
                self._later(self.host.restart_agent(vm))
            case "cut":
                for running in self._handlers:
                    for wire in running.wires:
                        if wire.name == vm:
                            wire.cut(trouble.part)
            case "fault":
                assert trouble.fault is not None
                self.host.guests[vm].inject(trouble.fault)
            case _:
                self.host.guests[vm].stop()
                self._later(self._resume_agent(vm, trouble.seconds))

    async def _publish(self, body: Any) -> None:
        await self.log.publish(body)

    async def _start_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.start_handler()

    async def _stop_and_start(self, seconds: float) -> None:
        for running in list(self._handlers):
            await self.stop(running)
        await self._start_after(seconds)

    async def _resume_agent(self, vm: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.host.resume(vm)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(self.loop.create_task(work))

    # --- chance and record ----------------------------------------------------------------------------------------------

    def _delay(self, name: str, profile: tuple[float, float]) -> Callable[[], float] | None:
        usual, slow = profile
        if not usual:
            return None
        rng = Random(f"{self.scenario.seed}/{name}")

        def delay() -> float:
            return rng.uniform(0, 2.0) if rng.random() < slow else rng.random() * usual

        return delay

    def _with_outages(self, delay: Callable[[], float] | None) -> Callable[[], float] | None:
        if not self.scenario.outages:
            return delay

        def waiting() -> float:
            now = self.loop.time()
            away = max((end - now for begin, end in self.scenario.outages if begin <= now < end), default=0.0)
            return away + (0.0 if delay is None else delay())

        return waiting

    def _next_id(self) -> str:
        self._ids += 1
        return f"{self._ids:032x}"

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.notes.append(f"{self.loop.time():.6f} {text}")

    def trace(self) -> list[str]:
        """Return all that happened: every event as recorded, every execution, every trouble."""
        names: dict[str, str] = {}
        lines = list(self.notes)
        for recorded in self.log.records:
            body = recorded.event.body
            handler = getattr(body, "handler", None)
            if handler is not None:
                names.setdefault(handler, f"<handler {len(names)}>")
            text = str(body)
            for identity, name in names.items():
                text = text.replace(identity, name)
            at = recorded.stored / 1e9 - (self.clock.now() - timedelta(seconds=self.loop.time())).timestamp()
            lines.append(f"{at:.6f} #{recorded.sequence} {recorded.event.producer}: {text[:400]}")
        return sorted(lines, key=lambda line: float(line.split(maxsplit=1)[0]))


def _over(vm: Vm, identity: str, ends: Sequence[Conclusion]) -> bool:
    """Return whether an entry whose attempts have ended so is to have no further one, by its own rules."""
    if not ends:
        return False
    entry = next(each for each in vm.all_entries() if each.id == identity)
    last = ends[-1]
    if isinstance(last, EntryLost):
        return entry.when_lost != "again"
    if isinstance(last, EntryFailed):
        return True
    bad = sum(isinstance(each, EntryFinished) and bool(each.exit_code) and not each.reboot for each in ends)
    return not last.reboot and (not last.exit_code or bad > entry.retries)


def _simulated(program: Program, attempt: int) -> SimulatedProgram:
    end = program.end(attempt)
    return SimulatedProgram(
        duration=program.duration,
        exit_code={"zero": 0, "one": 1, "ten": 10, "file": 0}[end],
        output=tuple(Output(data=data, stream=stream, at=at) for at, stream, data in program.pieces),  # type: ignore[arg-type]
        reboots=attempt if end == "file" else 0,
    )
