"""Family `handler`: configuring thousands of VMs, the barrier, launches at their time, resumes, files in and output out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from harness import Goal, Row, fresh_log, percentile, repeat, row

from vmr import planner, spool, vm_task
from vmr.agent import GuestAgent
from vmr.events import (
    AgentAddress,
    EntryFinished,
    EntryStarted,
    ExperimentLaunched,
    HandlerAttached,
    KnownBody,
    Recorded,
    SchedulePublished,
    VmAdded,
    VmResumed,
    VmStateSet,
)
from vmr.guests import GuestSpec, backend
from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.roster import every_vm
from vmr.schedule import Entry, EntryFile, Pause
from vmr.testing import SimulatedHost, socket_path
from vmr.vm_state import VmState

_HOSTS, _ROUTERS = 1_001, 2_002
_HOST_TIMES = (-300, -250, -249, -248, -247, -246, -201, -200, -1)
_ROUTER_TIMES = (-100, -97, -95, -1)
_SPREAD_SECONDS = 30
_RESUMES = 30
_TIMES = 3
_MEGABYTES = 32


def _program(time_: float, name: str, *files: EntryFile, arguments: str = "") -> Entry:
    return Entry(id=f"{time_}/{name}", start_time=time_, executable=name, arguments=arguments, files=files)


def _tree() -> dict[str, list[Entry]]:
    """Return schedules of the size and shape of a 1,000-router experiment: 3,003 VMs, 17,017 entries."""
    script = EntryFile("step.sh", content="#!/bin/sh\ntrue\n", executable=True)
    schedules = {}
    for number in range(_HOSTS + _ROUTERS):
        times = _HOST_TIMES if number < _HOSTS else _ROUTER_TIMES
        schedules[f"vm-{number}"] = [_program(at, "step.sh", script) for at in times]
    return schedules


async def _publish(log: AsyncLog, sockets: dict[str, Path], schedules: dict[str, Sequence[Entry]]) -> None:
    await log.add_vms(
        VmAdded(server_uuid=name, server_name=name, agent=AgentAddress("bench", str(path)))
        for name, path in sockets.items()
    )
    await log.publish_many(SchedulePublished(server_name=name, entries=tuple(each)) for name, each in schedules.items())
    await log.publish(ExperimentLaunched(launch_time=datetime.now(UTC), start_buffer=2))


async def _until(
    log: AsyncLog, done: Callable[[Recorded], bool], count: int = 1, kinds: Sequence[type[KnownBody]] = ()
) -> list[Recorded]:
    """Return all events of the log (of ``kinds``, if any are named) up to the ``count``-th of which ``done`` says so."""
    filters = [every_vm(log.db, kind) for kind in kinds] or None
    events: list[Recorded] = []
    async with asyncio.timeout(600):
        async for batch in log.follow(filters):
            for recorded in batch:
                events.append(recorded)
                count -= done(recorded)
                if count == 0:
                    return events
    raise AssertionError


def _is(kind: type, **fields: object) -> Callable[[Recorded], bool]:
    return lambda each: (
        isinstance(each.event.body, kind)
        and all(getattr(each.event.body, key) == value for key, value in fields.items())
    )


@contextlib.asynccontextmanager
async def _simulated(names: Iterable[str]) -> AsyncIterator[dict[str, Path]]:
    """Yield the sockets of simulated guests in a process of their own."""
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        base = Path(folder)
        listed = list(names)
        (base / "names.json").write_bytes(msgspec.json.encode(listed))
        command = [sys.executable, "-m", "vmr.testing", folder, str(base / "names.json")]
        process = subprocess.Popen(command)
        try:
            while not (base / "host.pid").exists():
                assert process.poll() is None
                await asyncio.sleep(0.05)
            yield {name: socket_path(base, name) for name in listed}
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def _handler_process(log: AsyncLog, folder: str) -> AsyncIterator[psutil.Process]:
    """Yield a handler in a process of its own."""
    settings = log.settings
    command = [sys.executable, "-m", "vmr", "--home", str(settings.home), "--db", settings.db]
    command += ["handler", "--host", "bench", "--folder", folder]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def _handler(log: AsyncLog) -> AsyncIterator[None]:
    """Run a handler in this process."""
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        task = asyncio.create_task(Handler(log, "bench", Path(folder)).run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _configure() -> tuple[float, float]:
    """Return seconds from the first attachment to the last configured, and the handler's memory in MB."""
    schedules = _tree()
    async with fresh_log() as log, _simulated(schedules) as sockets:
        await _publish(log, sockets, schedules)
        with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
            async with _handler_process(log, folder) as process:
                events = await _until(log, _is(VmStateSet, state="configured"), len(schedules))
                memory = process.memory_info().rss / 1e6
        first = next(each for each in events if isinstance(each.event.body, HandlerAttached))
        finished = sum(isinstance(each.event.body, EntryFinished) for each in events)
        assert finished == sum(map(len, schedules.values())), "every entry is recorded as finished"
        return (events[-1].stored - first.stored) / 1e9, memory


async def _launch_error() -> float:
    """Return the 99th percentile of launch errors in ms, over launches spread over time."""
    chance = random.Random(1)
    names = [f"vm-{number}" for number in range(_HOSTS + _ROUTERS)]
    schedules = {name: [_program(round(1 + chance.random() * _SPREAD_SECONDS, 3), "true")] for name in names}
    async with fresh_log() as log, _simulated(names) as sockets:
        await _publish(log, sockets, schedules)
        with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
            async with _handler_process(log, folder):
                events = await _until(log, _is(EntryFinished), len(names))
    due = {}
    errors = []
    for each in events:
        body = each.event.body
        if isinstance(body, EntryStarted) and body.due is not None:
            due[body.server_uuid] = body.due
        elif isinstance(body, EntryFinished):  # later than the launch by the program and its report: an upper bound
            errors.append((each.event.time - due[body.server_uuid]).total_seconds() * 1000)
    return percentile(errors, 99)


async def _timer_error() -> float:
    """Return the 99th percentile of how late a timer of asyncio is, in ms."""
    loop = asyncio.get_running_loop()
    errors = []
    for _ in range(200):
        wanted = loop.time() + 0.005
        await asyncio.sleep(0.005)
        errors.append((loop.time() - wanted) * 1000)
    return percentile(errors, 99)


async def _barrier() -> float:
    """Return ms from the last configured event being stored until the 99th percentile of VMs has planned with the start known."""
    names = [f"vm-{number}" for number in range(_HOSTS + _ROUTERS)]
    known: dict[str, int] = {}
    original = planner.plan

    def watching(vm: VmState, experiment: planner.ExperimentState, now: datetime) -> planner.Plan:
        if experiment.start is not None:
            known.setdefault(vm.uuid, time.time_ns())
        return original(vm, experiment, now)

    vm_task.planner.plan = watching  # type: ignore[assignment]
    try:
        async with fresh_log() as log, _simulated(names) as sockets:
            await _publish(log, sockets, {name: [] for name in names})
            # Nobody follows the log beside the handler: it would take a third of the handler's own thread.
            async with _handler(log), asyncio.timeout(600):
                while len(known) < len(names):
                    await asyncio.sleep(0.01)
            events = await _until(log, _is(VmStateSet, state="configured"), len(names))
        last = events[-1].stored
        return percentile([(at - last) / 1e6 for at in known.values()], 99)
    finally:
        vm_task.planner.plan = original  # type: ignore[assignment]


async def _fan_out() -> float:
    """Return ms for one message to reach a subscriber, the 99th percentile."""
    async with fresh_log() as log:
        client = log.connection.client
        inbox = await client.subscribe("bench.fan")
        times = []
        for _ in range(300):
            began = time.perf_counter()
            await client.publish("bench.fan", b"x")
            await inbox.next_msg()
            times.append((time.perf_counter() - began) * 1000)
        return percentile(times, 99)


async def _resumes() -> tuple[list[float], list[float]]:
    """Return ms from publishing a resume until the guest begins the program after the break, and of the messages alone that it takes."""
    entries: list[Entry] = []
    for number in range(1, _RESUMES + 1):
        entries.append(Entry(id=f"break-{number}", start_time=number / 10, pause=Pause()))
        entries.append(_program(number / 10 + 0.0001, f"p{number}"))
    times, bare = [], []
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        async with fresh_log() as log, SimulatedHost(Path(folder), ["one", "other"]) as guests, _handler(log):
            begun = _watch_launches(guests)
            await _publish(log, {"one": guests.sockets["one"]}, {"one": entries})
            await _until(log, _is(EntryStarted, entry="break-1"))
            for number in range(1, _RESUMES + 1):
                await _until(log, _is(EntryStarted, entry=f"break-{number}"))
                before = time.perf_counter()
                await log.publish(VmResumed(server_uuid="one"))
                times.append((await begun.get() - before) * 1000)
            async with GuestAgent(guests.sockets["other"]) as agent:
                for _ in range(_RESUMES):
                    before = time.perf_counter()
                    await log.connection.client.flush()
                    await agent.ping()
                    bare.append((time.perf_counter() - before) * 1000)
    return times, bare


def _watch_launches(guests: SimulatedHost) -> asyncio.Queue[float]:
    """Return a queue of the times at which the guest is told to launch."""
    begun: asyncio.Queue[float] = asyncio.Queue()
    guest = guests.guests["one"]
    original = guest.receive

    def watching(data: bytes) -> object:
        if spool.CALL_SCRIPT_NAME.encode() in data and b"vmr-" not in data:
            begun.put_nowait(time.perf_counter())
        return original(data)

    guest.receive = watching  # type: ignore[assignment,method-assign]
    return begun


@contextlib.asynccontextmanager
async def _real_guest(kind: str) -> AsyncIterator[Path]:
    """Yield the socket of one stock agent: in namespaces of its own (``agent``), or in a virtual machine (``vm``)."""
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        agents = backend(kind)
        # Both files of a measurement are in the guest's memory.
        sockets = await agents.start([GuestSpec(name="one", memory_mb=6 * _MEGABYTES)], Path(folder))
        try:
            yield sockets["one"]
        finally:
            await agents.stop(Path(folder))


async def _nine(guest: Path) -> float:
    """Return seconds from attachment to configured for nine instant entries on one real guest."""
    async with fresh_log() as log, _handler(log):
        await _publish(log, {"one": guest}, {"one": [_program(at, "true") for at in range(-9, 0)]})
        events = await _until(log, _is(VmStateSet, state="configured"))
        first = next(each for each in events if isinstance(each.event.body, HandlerAttached))
        return (events[-1].stored - first.stored) / 1e9


async def _nine_bare(guest: Path) -> float:
    """Return seconds of the same agent calls: one install, nine launches one after another."""
    async with GuestAgent(guest) as agent:
        entries = [_program(at, "true") for at in range(-9, 0)]
        folders = [f"/tmp/bare-{os.urandom(4).hex()}/{entry.id}" for entry in entries]
        began = time.perf_counter()
        files = [
            spool.Install(f"{folder}/{spool.CALL_SCRIPT_NAME}", text=spool.call_script(entry))
            for folder, entry in zip(folders, entries, strict=True)
        ]
        for command in (spool.install(files), *(spool.launch(folder, 1) for folder in folders)):
            await agent.run(command.path, command.arguments)
        return time.perf_counter() - began


async def _file_in(guest: Path) -> tuple[float, float]:
    """Return MB/s of a resource into the guest by the handler, and by the agent bare."""
    data = os.urandom(_MEGABYTES << 20)
    async with fresh_log() as log, _handler(log):
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            await log.put_resource(file.name, name="big")
        entry = Entry(id="f", start_time=-1, files=(EntryFile("/var/tmp/in", resource="big"),), overwrite=True)
        await _publish(log, {"one": guest}, {"one": [entry]})
        events = await _until(log, _is(EntryStarted))
        configuring = next(each for each in events if _is(VmStateSet, state="configuring")(each))
        ours = _MEGABYTES / ((events[-1].stored - configuring.stored) / 1e9)
    async with GuestAgent(guest) as agent:
        began = time.perf_counter()
        await agent.write_file("/var/tmp/bare", data)
        return ours, _MEGABYTES / (time.perf_counter() - began)


async def _output(guest: Path) -> tuple[float, float]:
    """Return MB/s of output out of the guest by the handler, from the start of a program that writes it at once, and of a file by the agent bare."""
    entries = [
        _program(-2, "sh", arguments=f"-c 'base64 /dev/urandom | head -c {_MEGABYTES << 20} > /var/tmp/out'"),
        _program(-1, "cat", arguments="/var/tmp/out"),
    ]
    async with fresh_log() as log, _handler(log):
        await _publish(log, {"one": guest}, {"one": entries})
        # The output itself is not followed: that would be the work of a projector, on the handler's own thread.
        events = await _until(log, _is(EntryFinished), 2, (EntryStarted, EntryFinished))
        started = next(each for each in events if _is(EntryStarted, entry="-1/cat")(each))
        ours = _MEGABYTES / ((events[-1].stored - started.stored) / 1e9)
    async with GuestAgent(guest) as agent:
        began = time.perf_counter()
        await agent.read_file("/var/tmp/out")
        return ours, _MEGABYTES / (time.perf_counter() - began)


async def measure() -> list[Row]:
    """Return the family's rows. Those of real guests need root, the stock agent, and what makes virtual machines."""

    def less(value: float) -> Goal:
        return Goal(value=value, better="less")

    seconds, memory = await _configure()
    rows = [
        row("handler", "configure_3003_s", "s", [seconds], goal=less(60)),
        row("handler", "handler_rss_mb", "MB", [memory], goal=less(600)),
    ]
    barriers, fan_outs = await repeat(_TIMES, _barrier, _fan_out)
    rows.append(
        row(
            "handler",
            "barrier_p99_ms",
            "ms",
            barriers,
            goal=less(100),
            baseline=fan_outs,
            baseline_name="one NATS fan-out",
        )
    )
    resumes, bare = await _resumes()
    rows.append(
        row(
            "handler",
            "resume_to_command_p50_ms",
            "ms",
            resumes,
            goal=less(20),
            baseline=bare,
            baseline_name="NATS round trip + agent ping",
        )
    )
    errors, timers = await repeat(_TIMES, _launch_error, _timer_error)
    rows.append(
        row(
            "handler",
            "launch_error_p99_ms",
            "ms",
            errors,
            goal=less(20),
            baseline=timers,
            baseline_name="a timer of asyncio",
        )
    )
    return [
        *rows,
        *await _nine_entries(),
        *await _bulk("agent", "", "alone"),
        *await _bulk("vm", "vm_", "in a virtual machine"),
    ]


async def _nine_entries() -> list[Row]:
    async with _real_guest("agent") as guest:
        await _nine(guest)
        nine = [await _nine(guest) for _ in range(5)]
        bare = [await _nine_bare(guest) for _ in range(5)]
    return [
        row(
            "handler",
            "nine_entries_s",
            "s",
            nine,
            goal=Goal(value=0.5, better="less"),
            baseline=bare,
            baseline_name="the same agent calls, bare",
        )
    ]


async def _bulk(kind: str, prefix: str, where: str) -> list[Row]:
    """Return the rates of files and output of one guest of a ``kind``.

    An agent alone answers several times as fast as one behind a virtual machine's serial port, so that what the handler and the
    server do besides weighs more there.
    """
    async with _real_guest(kind) as guest:
        files = [await _file_in(guest) for _ in range(3)]
        outputs = [await _output(guest) for _ in range(3)]
    return [
        row(
            "handler",
            metric,
            "MB/s",
            [ours for ours, _ in pairs],
            goal=Goal(ratio=0.8),
            baseline=[bare for _, bare in pairs],
            baseline_name=f"the agent's own best, bare, {where}",
        )
        for metric, pairs in ((f"{prefix}file_in_mb_s", files), (f"{prefix}output_mb_s", outputs))
    ]
