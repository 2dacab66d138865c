"""Family `projection`: how fast the log becomes rows, how far the rows lag behind it, and how fast questions are answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from harness import Goal, Row, fresh_log, percentile, repeat, row
from nats.aio.msg import Msg
from scale import apart, measure_scale

from vmr import events, query_service
from vmr.asking import answer_past
from vmr.cursor import CursorWatch
from vmr.log import AsyncLog
from vmr.past import Past
from vmr.projector import Projector, collect_garbage_seldom, open_projector, run_projector
from vmr.subjects import all_events
from vmr.supervisor import ALLOCATION

_VMS = 500
_ROUNDS = 40
_TIMES = 3
_RATE = 5_000
_SECONDS = 20.0
_SETTLE_SECONDS = 3.0
"""After so long the history that was read before is on disk, and what is measured is the rate alone."""
_SINGLES = 300
_ASKED = 200


def _history() -> list[events.KnownBody]:
    """Return a plausible history: VMs, then entries that start, write a line and finish, with times and states in between."""
    bodies: list[events.KnownBody] = [events.ExperimentLaunched(launch_time=datetime.now(UTC))]
    names = [(f"6ba7b810-9dad-11d1-80b4-{n:012d}", f"host-{n}.example") for n in range(_VMS)]
    bodies += [events.VmAdded(server_uuid=uuid, server_name=name) for uuid, name in names]
    for number in range(_ROUNDS):
        for uuid, _ in names:
            bodies += _entry(uuid, f"{number + 1}/curl")
            bodies.append(events.VmTimeTicked(server_uuid=uuid, current_time=str(number + 1)))
            bodies.append(events.VmStateSet(server_uuid=uuid, state="configuring"))
    return bodies


def _entry(uuid: str, entry: str) -> list[events.KnownBody]:
    line = '{"time": 0.123, "url": "http://server/file"}\n'
    started = events.EntryStarted(
        server_uuid=uuid, entry=entry, attempt=1, name="curl", start_time=entry.split("/", maxsplit=1)[0]
    )
    captured = events.OutputCaptured(
        server_uuid=uuid, entry=entry, attempt=1, stream="stdout", offset=0, size=len(line), text=line
    )
    finished = events.EntryFinished(
        server_uuid=uuid, entry=entry, attempt=1, exit_code=0, stdout_size=len(line), duration=0.5
    )
    return [started, captured, finished]


@contextlib.asynccontextmanager
async def _projecting(log: AsyncLog) -> AsyncIterator[tuple[CursorWatch, Path]]:
    """Run a projector on a read model of its own beside the measurement."""
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        path = Path(folder) / "read_model.duckdb"
        projector, watch = await open_projector(log, path, prompt=True), CursorWatch()
        task = asyncio.create_task(run_projector(log, projector, watch))
        try:
            yield watch, path
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            projector.close()


async def _fold_all(log: AsyncLog, last: int) -> float:
    async with _projecting(log) as (watch, _):
        began = time.perf_counter()
        assert await watch.reached(last, within=120)
        return last / (time.perf_counter() - began)


async def _read_raw(log: AsyncLog, last: int) -> float:
    """Read the stream as fast as nats-py can: an ordered push consumer with a callback that only counts."""
    done, count = asyncio.Event(), 0

    async def arrived(_: Msg) -> None:
        nonlocal count
        count += 1
        if count == last:
            done.set()

    began = time.perf_counter()
    stream = log.connection.client.jetstream()
    subscription = await stream.subscribe(
        all_events(log.db), ordered_consumer=True, cb=arrived, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    async with asyncio.timeout(120):
        await done.wait()
    rate = last / (time.perf_counter() - began)
    await subscription.unsubscribe()
    return rate


async def _lag(log: AsyncLog) -> list[float]:
    """Return the milliseconds from each publish, at `_RATE` events per second, until a read model has it."""
    lags: list[float] = []
    async with _projecting(log) as (watch, _):
        await watch.reached(await log.last_sequence(), within=60)
        await asyncio.sleep(_SETTLE_SECONDS)
        began, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as tasks:
            while (elapsed := time.perf_counter() - began) < _SECONDS:
                count = int(elapsed * _RATE) - sent
                sent += count
                if count:
                    tasks.create_task(_publish_and_see(log, watch, count, lags))
                await asyncio.sleep(0.01)
    return lags


async def _publish_and_see(log: AsyncLog, watch: CursorWatch, count: int, lags: list[float]) -> None:
    began = time.perf_counter()
    body = events.VmStateSet(server_uuid="6ba7b810-9dad-11d1-80b4-000000000007", state="configured")
    last = (await log.publish_many([body] * count))[-1]
    assert await watch.reached(last, within=60)
    lags.extend([(time.perf_counter() - began) * 1000] * count)


async def _visible(log: AsyncLog) -> list[float]:
    """Return the milliseconds from the publish of one event, on a quiet log, until a read model has it."""
    lags: list[float] = []
    async with _projecting(log) as (watch, _):
        await watch.reached(await log.last_sequence(), within=60)
        for _ in range(_SINGLES):
            await _publish_and_see(log, watch, 1, lags)
    return lags


async def _round_trips(log: AsyncLog) -> list[float]:
    """Return the milliseconds of bare requests to a responder that says one word."""

    async def answer(message: Msg) -> None:
        await message.respond(b"here")

    client = log.connection.client
    subscription = await client.subscribe("bench.here", cb=answer)
    taken = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        await client.request("bench.here", b"")
        taken.append((time.perf_counter() - began) * 1000)
    await subscription.unsubscribe()
    return taken


async def _answers(log: AsyncLog, query: str) -> list[float]:
    taken = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        await log.query(query)
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def _query_rows() -> list[Row]:
    rows = []
    async with fresh_log("queries") as log:
        task = asyncio.create_task(query_service.main(log.settings))
        await log.publish_many(
            [events.VmAdded(server_uuid=f"{n:036d}", server_name=f"host-{n}") for n in range(10_000)]
        )
        await asyncio.sleep(2)
        bare = await _round_trips(log)
        for query, metric, goal in (
            ("vm_states", "vm_states_10k_p50_ms", 12.0),
            ("not_ready", "not_ready_10k_p50_ms", 1.0),
            ("start_time", "start_time_p50_ms", 1.0),
        ):
            found = [percentile(await _answers(log, query), 50) for _ in range(_TIMES)]
            rows.append(_less(metric, found, goal, [percentile(bare, 50)], "NATS round trip"))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return rows


async def _past_rows(log: AsyncLog, last: int) -> list[Row]:
    """Return how long it takes to fold the state of all VMs, and everything, as of moments that were not asked for before."""
    projector = Projector()
    async for batch in log.read():
        projector.apply(batch)
    past, connection = Past(projector.reader()), projector.reader()
    everything = "SELECT count(*) FROM query_table('v' || 'ms')"
    found: dict[str, list[float]] = {}
    for moment in range(last - 2 * _TIMES, last, 2):
        for place, (name, statement) in enumerate((("vms", "SELECT * FROM vms"), ("everything", everything))):
            began = time.perf_counter()
            answer_past(past, connection, "sql", {"sql": statement}, moment + place)
            found.setdefault(name, []).append((time.perf_counter() - began) * 1000)
    projector.close()
    return [_less(f"{name}_as_of_100k_ms", values, 1000) for name, values in found.items()]


def _less(
    metric: str, values: list[float], bound: float, baseline: list[float] | None = None, name: str | None = None
) -> Row:
    goal = Goal(value=bound, better="less")
    return row("projection", metric, "ms", values, goal=goal, baseline=baseline, baseline_name=name)


async def measure() -> list[Row]:
    """Return the family's rows; those of the service from a process that is begun as `vmr up` begins it."""
    with mock.patch.dict(os.environ, ALLOCATION | os.environ):
        rows = apart(_rows_of_the_service)
    return [*rows, *measure_scale()]


def _rows_of_the_service() -> list[Row]:
    return asyncio.run(_of_the_service())


async def _of_the_service() -> list[Row]:
    collect_garbage_seldom()
    async with fresh_log() as log:
        last = (await log.publish_many(_history()))[-1]
        folded, raw = await repeat(_TIMES, lambda: _fold_all(log, last), lambda: _read_raw(log, last))
        lags = [percentile(await _lag(log), 99) for _ in range(_TIMES)]
        past = await _past_rows(log, last)
        visible = [percentile(await _visible(log), 50) for _ in range(_TIMES)]
    rate = row(
        "projection",
        "events_per_s",
        "1/s",
        folded,
        goal=Goal(value=50_000),
        baseline=raw,
        baseline_name="raw read of the stream",
    )
    return [
        rate,
        _less("lag_p99_ms", lags, 50),
        _less("visible_p50_ms", visible, 5),
        *past,
        *await _query_rows(),
    ]
