"""Family `interface`: the documented functions as a script calls them, synchronously, over a database of 10,000 VMs."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import msgspec
from harness import Goal, Row, fresh_log, percentile, row
from nats.aio.msg import Msg

from vmr import api, utils
from vmr.errors import ProjectorMissingError
from vmr.events import VmStateSet, VmTimeTicked, encode, new_event, subject_of
from vmr.log import AsyncLog, connect
from vmr.projector import Projector
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping

_VMS = 10_000
_TIMES = 5
_CALLS = 100
_UUIDS = [f"6ba7b810-9dad-11d1-80b4-{number:012d}" for number in range(_VMS)]


@contextmanager
def _in_force(settings: Settings) -> Iterator[None]:
    names = {"VMR_HOME": str(settings.home), "VMR_DB": settings.db, "VMR_CONFIG": ""}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _projector(settings: Settings) -> Iterator[None]:
    """Run the projector with its queries in a process of its own, as ``vmr up`` does."""
    command = [sys.executable, "-m", "vmr", "--home", str(settings.home), "--db", settings.db, "service", "projector"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _latencies(call: Callable[[], object], calls: int = _CALLS) -> list[float]:
    """Return the latencies of calls one after another, in milliseconds."""
    found = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return found


async def _awaited(call: Callable[[], Awaitable[object]]) -> list[float]:
    found = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await call()
        found.append((time.perf_counter() - began) * 1000)
    return found


async def _raw_publish(log: AsyncLog) -> list[float]:
    """Return the latencies of bare publishes to a log of the same server that nothing else reads or writes."""
    stream = log.connection.client.jetstream()

    async def publish() -> None:
        event = new_event(VmStateSet(server_uuid=_UUIDS[0], state="configured"), producer="bench")
        await stream.publish(subject_of(log.db, event.body), encode(event), headers={"Nats-Msg-Id": event.id})

    return await _awaited(publish)


async def _round_trip(log: AsyncLog) -> list[float]:
    client, subject = log.connection.client, log.connection.client.new_inbox()

    async def echo(message: Msg) -> None:
        await message.respond(b"")

    subscription = await client.subscribe(subject, cb=echo)
    found = await _awaited(lambda: client.request(subject, b""))
    await subscription.unsubscribe()
    return found


async def _duckdb(log: AsyncLog) -> list[float]:
    """Return the latencies of the states of all VMs, read in this process from a read model of its own."""
    projector = Projector()
    async for batch in log.read():
        projector.apply(batch)
    reader = projector.reader()
    found = await asyncio.to_thread(
        _latencies, lambda: reader.execute("SELECT server_name, state FROM vms ORDER BY added_seq").fetchall(), 20
    )
    reader.close()
    projector.close()
    return found


def _until_answered() -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            utils.get_vm_count_not_ready()
        except utils.MappingUnavailableError as error:
            if not isinstance(error.__cause__, ProjectorMissingError) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


async def _measured(log: AsyncLog, other: AsyncLog) -> dict[str, list[float]]:
    """Return the median latency of each function and of the baselines, once per repetition."""
    vms = itertools.cycle(_UUIDS[:: _VMS // 500])
    mapping = VMMapping()

    def set_and_read_back() -> None:
        uuid = next(vms)
        mapping.set_vm_state_by_uuid(uuid, "configuring")
        assert mapping.get(uuid)["state"] == "configuring"

    def set_and_count() -> None:
        utils.set_vm_state(next(vms), "configured", mapping)
        utils.get_vm_count_not_ready(mapping)

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "set_vm_state": (lambda: utils.set_vm_state(next(vms), "configuring"), _CALLS),
        "set_vm_state_readback": (set_and_read_back, _CALLS),
        "set_vm_state_then_not_ready_10k": (set_and_count, 20),
        "get_vm_states_10k": (api.get_vm_states, 20),
        "not_ready_10k": (utils.get_vm_count_not_ready, _CALLS),
        "start_time": (api.get_experiment_start_time, _CALLS),
    }
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(_TIMES):
        for name, (call, count) in calls.items():
            found[name].append(percentile(await asyncio.to_thread(_latencies, call, count), 50))
        changed = await asyncio.to_thread(_states_after_changes, mapping)
        found["get_vm_states_10k_changed"].append(percentile(changed, 50))
        found["publish"].append(percentile(await _raw_publish(other), 50))
        found["trip"].append(percentile(await _round_trip(log), 50))
    for _ in range(_TIMES):
        among_others = await asyncio.to_thread(_set_among_others, mapping, vms)
        found["set_vm_state_among_others"].append(percentile(among_others, 50))
    found["duckdb"].append(percentile(await _duckdb(log), 50))
    await asyncio.to_thread(mapping.close)
    return found


def _set_among_others(mapping: VMMapping, vms: Iterator[str]) -> list[float]:
    """Return the latencies of changes between which a handler's worth of other events is recorded."""
    with connect(settings=mapping.shared_log.settings) as log:
        found = []
        for uuid in itertools.islice(vms, 50):
            log.publish_many([VmTimeTicked(server_uuid=_UUIDS[1], current_time="-1")] * 20)
            found += _latencies(lambda uuid=uuid: mapping.set_vm_state_by_uuid(uuid, "configuring"), 1)
    return found


def _states_after_changes(mapping: VMMapping) -> list[float]:
    """Return the latencies of all states when the one before is out of date, and the projector has caught up."""
    found = []
    for uuid in _UUIDS[:10]:
        mapping.set_vm_state_by_uuid(uuid, "configuring")
        utils.get_vm_count_not_ready(mapping)
        found += _latencies(api.get_vm_states, 1)
    return found


async def measure() -> list[Row]:
    """Return the family's rows."""
    async with fresh_log() as log:
        with _in_force(log.settings), _projector(log.settings):
            await asyncio.to_thread(_until_answered)
            await asyncio.to_thread(api.add_experiment_start_time)
            with VMMapping() as mapping:
                vms = [{"server_uuid": uuid, "server_name": f"host-{uuid}"} for uuid in _UUIDS]
                await asyncio.to_thread(mapping.batch_put, vms)
                async with await AsyncLog.connect(
                    msgspec.structs.replace(log.settings, db="bench_raw"), producer="bench"
                ) as other:
                    found = await _measured(log, other)
    names = {"publish": "raw nats-py publish", "trip": "NATS round trip", "duckdb": "DuckDB fetchall in process"}
    plan = [
        ("set_vm_state", 0.8, "publish"),
        ("set_vm_state_among_others", None, "publish"),
        ("set_vm_state_readback", 6.0, "publish"),
        ("set_vm_state_then_not_ready_10k", None, "publish"),
        ("get_vm_states_10k", 12.0, "duckdb"),
        ("get_vm_states_10k_changed", None, "duckdb"),
        ("not_ready_10k", 1.0, "trip"),
        ("start_time", 1.0, "trip"),
    ]
    return [
        row(
            "interface",
            f"{name}_p50_ms",
            "ms",
            found[name],
            goal=Goal(value=goal, better="less"),
            baseline=found[base],
            baseline_name=names[base],
        )
        for name, goal, base in plan
    ]
