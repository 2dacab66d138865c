"""Family `replay`: how fast a record becomes an archive, is proven to be whole, and is open for questions."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
from harness import Goal, Row, fresh_log, repeat, row
from projection import _history

from vmr import events, query_service
from vmr.archive import create_archive, open_archive, verify_archive
from vmr.archive._assemble import Contents, assemble
from vmr.archive._chain import BEGIN, Chain
from vmr.archive._folder import ASSEMBLED
from vmr.archive._parts import PartWriter
from vmr.archive._refs import Refs
from vmr.errors import ProjectorMissingError
from vmr.log import AsyncLog
from vmr.messages import Raw
from vmr.opened import opened
from vmr.projector import collect_garbage_seldom
from vmr.record import Run, connect

_RECORDED = 300_000
_EVENTS = 1_500_000
_TIMES = 3
_BASELINE = "DuckDB reading the Parquet"


@contextlib.asynccontextmanager
async def _answered(log: AsyncLog) -> AsyncIterator[None]:
    """Let the log's queries be answered, from all that is in it now."""
    task = asyncio.create_task(query_service.main(log.settings))
    try:
        while True:
            with contextlib.suppress(ProjectorMissingError):
                await log.query("last_sequence", after=await log.last_sequence(), timeout=120.0)
                break
            await asyncio.sleep(0.05)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def archive_of(folder: Path, count: int) -> Path:
    """Return an archive of at least ``count`` plausible events, made without a log."""
    (folder / "events").mkdir()
    (folder / "objects").mkdir()
    messages = [(events.subject_of("bench", body), _message(body)) for body in _history()]
    writer, chain, finished, last = PartWriter(folder / "events", 1, 1, BEGIN), Chain(BEGIN, 1), [], 0
    while last < count:
        stored = time.time_ns()
        batch = [Raw(last + n, stored + n, subject, data, 0) for n, (subject, data) in enumerate(messages, 1)]
        finished += list(writer.add(batch, chain.link(batch)))
        last += len(batch)
    finished += writer.finish()
    writer.close()
    run = Run(run=1, name="bench", first_seq=1, last_seq=last)
    assemble(folder, Contents(database="bench", run=run, last=last, parts=finished, refs=Refs()))
    return (folder / ASSEMBLED).rename(folder / "bench.zip")


def _message(body: events.KnownBody) -> bytes:
    return events.encode(events.new_event(body, producer="bench"))


def read_parquet(archive: Path, folder: Path) -> float:
    """Return how many events per second DuckDB reads, with their messages, from the parts of ``archive``."""
    with open_archive(archive) as opened, duckdb.connect(config={"threads": 2}) as connection:
        paths = [str(path) for path in opened.extract_events(folder)]
        began = time.perf_counter()
        sql = "SELECT count(DISTINCT type), sum(seq + stored_ns % 2 + length(subject) + hash(payload) % 2) FROM read_parquet($1)"
        connection.execute(sql, [paths]).fetchall()
        return opened.manifest.events / (time.perf_counter() - began)


async def _read(archive: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        return await asyncio.to_thread(read_parquet, archive, Path(folder))


async def _verify(archive: Path) -> float:
    began = time.perf_counter()
    verdict = await asyncio.to_thread(verify_archive, archive)
    assert verdict.whole
    assert verdict.last is not None
    return verdict.last / (time.perf_counter() - began)


def open_it(archive: Path) -> float:
    """Return how many events per second are open for questions: unpacked, and folded into every table."""
    began = time.perf_counter()
    with opened(archive, cache=False) as found, connect(found.record) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM events").fetchall()
        return int(count) / (time.perf_counter() - began)


async def _open(archive: Path) -> float:
    return await asyncio.to_thread(open_it, archive)


async def _create(log: AsyncLog, target: Path) -> float:
    target.unlink(missing_ok=True)
    began = time.perf_counter()
    manifest = await create_archive(log, None, target)
    return manifest.events / (time.perf_counter() - began)


async def _archive_row(folder: Path) -> Row:
    target = folder / "run.zip"
    async with fresh_log() as log:
        last = 0
        while last < _RECORDED:
            last = (await log.publish_many(_history()))[-1]
        async with _answered(log):
            values, base = await repeat(_TIMES, lambda: _create(log, target), lambda: _read(target))
    return _row("archive_events_per_s", values, base, 100_000)


def _row(metric: str, values: list[float], base: list[float], goal: float) -> Row:
    return row("replay", metric, "1/s", values, goal=Goal(value=goal), baseline=base, baseline_name=_BASELINE)


async def measure() -> list[Row]:
    """Return the family's rows."""
    collect_garbage_seldom()
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as name:
        folder = Path(name)
        rows = [await _archive_row(folder)]
        archive = await asyncio.to_thread(archive_of, folder, _EVENTS)
        proven, opens, base = await repeat(
            _TIMES, lambda: _verify(archive), lambda: _open(archive), lambda: _read(archive)
        )
        rows.append(_row("verify_events_per_s", proven, base, 500_000))
        return [*rows, _row("open_events_per_s", opens, base, 1_000_000)]
