"""Family `publish`: durable events per second against one awaited publish after another; the latency of a single event."""

from __future__ import annotations

import asyncio
import time

from harness import Goal, Row, fresh_log, percentile, repeat, row

from vmr.events import VmAdded, VmStateSet, encode, new_event, subject_of
from vmr.log import AsyncLog

_EVENTS = 10_000
_ONE_BY_ONE = 1_000
_SINGLES = 500
_TIMES = 5


def _vms(count: int) -> list[VmAdded]:
    return [
        VmAdded(
            server_uuid=f"6ba7b810-9dad-11d1-80b4-{n:012d}", server_name=f"host-{n}.example", control_ip="172.16.0.1"
        )
        for n in range(count)
    ]


async def _many(log: AsyncLog) -> float:
    vms = _vms(_EVENTS)
    began = time.perf_counter()
    await log.add_vms(vms)
    return _EVENTS / (time.perf_counter() - began)


async def _concurrent(log: AsyncLog) -> float:
    vms = _vms(_EVENTS)
    began = time.perf_counter()
    await asyncio.gather(*map(log.publish, vms))
    return _EVENTS / (time.perf_counter() - began)


async def _raw_publish(log: AsyncLog, body: VmAdded | VmStateSet) -> None:
    event = new_event(body, producer="bench")
    stream = log.connection.client.jetstream()
    await stream.publish(subject_of(log.db, body), encode(event), headers={"Nats-Msg-Id": event.id})


async def _one_by_one(log: AsyncLog) -> float:
    vms = _vms(_ONE_BY_ONE)
    began = time.perf_counter()
    for vm in vms:
        await _raw_publish(log, vm)
    return _ONE_BY_ONE / (time.perf_counter() - began)


async def _singles(log: AsyncLog, *, raw: bool) -> list[float]:
    """Return the latencies, in milliseconds, of events published one after another."""
    latencies = []
    body = VmStateSet(server_uuid="6ba7b810-9dad-11d1-80b4-00c04fd430c8", state="configured")
    for _ in range(_SINGLES):
        began = time.perf_counter()
        await (_raw_publish(log, body) if raw else log.publish(body))
        latencies.append((time.perf_counter() - began) * 1000)
    return latencies


async def measure() -> list[Row]:
    """Return the family's rows."""
    async with fresh_log() as log:
        await _many(log)
        many, concurrent, one_by_one = await repeat(
            _TIMES, lambda: _many(log), lambda: _concurrent(log), lambda: _one_by_one(log)
        )
        ours, raw = [], []
        for _ in range(_TIMES):
            ours.append(await _singles(log, raw=False))
            raw.append(await _singles(log, raw=True))
    base = "awaited publish, one by one, same server"
    rows = [
        row(
            "publish",
            "durable_events_per_s",
            "1/s",
            many,
            goal=Goal(value=35_000, ratio=8),
            baseline=one_by_one,
            baseline_name=base,
        ),
        row("publish", "concurrent_events_per_s", "1/s", concurrent, baseline=one_by_one, baseline_name=base),
    ]
    for percent, bound in ((50, 0.8), (99, 3.0)):
        rows.append(
            row(
                "publish",
                f"single_p{percent}_ms",
                "ms",
                [percentile(values, percent) for values in ours],
                goal=Goal(value=bound, better="less"),
                baseline=[percentile(values, percent) for values in raw],
                baseline_name="raw nats-py publish",
            )
        )
    return rows
