"""A log's beginning goes only when archives hold it, while everything runs, and never more than that."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.archive.runs import publish_run
from tests.readmodel.conftest import serving
from vmr import query_service
from vmr.archive import _truncate as truncating
from vmr.archive import create_archive, truncate_log
from vmr.errors import DamagedArchiveError, DataError, InvalidInputError, LogUnavailableError
from vmr.events import VmAdded
from vmr.log import AsyncLog
from vmr.log import _stream as streams
from vmr.log._connection import Connection
from vmr.projector import open_projector


@pytest.fixture
async def two_runs(recorded: AsyncLog) -> AsyncLog:
    """Return a log with a second run after the first."""
    await recorded.clear()
    await publish_run(recorded, 3, name="second")
    return recorded


async def ends(log: AsyncLog) -> tuple[int, int]:
    """Return the first and the last sequence of a log."""
    return (await log.beginning())[0], await log.last_sequence()


async def test_a_run_that_is_in_an_archive_is_removed(two_runs: AsyncLog, tmp_path: Path) -> None:
    """Exactly what is before the second run; the definition of the stream is what it was, and publishing goes on."""
    manifest = await create_archive(two_runs, "1", tmp_path / "1.zip")
    _, last = await ends(two_runs)
    before = await two_runs.connection.api(f"STREAM.INFO.VMR_{two_runs.db}", answer=dict)
    done = await truncate_log(two_runs.settings, "second", [tmp_path / "1.zip"])
    assert (done.first, done.run, done.removed) == (manifest.last + 1, 2, manifest.events)
    assert await ends(two_runs) == (manifest.last + 1, last)
    after = await two_runs.connection.api(f"STREAM.INFO.VMR_{two_runs.db}", answer=dict)
    metadata = after["config"].pop("metadata") | before["config"].pop("metadata")
    assert metadata["vmr.first_run"] == "2"
    assert after["config"] == before["config"]
    assert await two_runs.publish(VmAdded(server_uuid="x", server_name="x")) == last + 1


async def test_read_models_go_on(two_runs: AsyncLog, tmp_path: Path) -> None:
    """One that was there keeps both runs; one that is made anew begins with run 2, as run 2."""
    await create_archive(two_runs, "1", tmp_path / "1.zip")
    await truncate_log(two_runs.settings, "2", [tmp_path / "1.zip"])
    last = await two_runs.publish(VmAdded(server_uuid="x", server_name="x"))
    kept = await two_runs.query("runs", after=last)
    assert [(run["run"], run["name"]) for run in kept.records()] == [(1, "small"), (2, "second")]
    with pytest.raises(DataError, match=r"the log begins with event \d+: run 1, which begins with 1, was removed"):
        await create_archive(two_runs, "1", tmp_path / "again.zip")
    projector = await open_projector(two_runs, tmp_path / "fresh.duckdb")
    try:
        async for batch in two_runs.read():
            projector.apply(batch)
        assert (projector.cursor, projector.run) == (last, 2)
    finally:
        projector.close()
    assert len((await two_runs.query("vms", after=last)).rows) == 4


async def test_publishers_wait_and_lose_nothing(two_runs: AsyncLog, tmp_path: Path) -> None:
    """Events that are published all the time while the log is truncated are all there, once."""
    await create_archive(two_runs, "1", tmp_path / "1.zip")
    over = asyncio.Event()
    sequences: list[int] = []

    async def publish_all_the_time() -> None:
        while not over.is_set():
            sequences.extend(await two_runs.publish_many([VmAdded(server_uuid="x", server_name="x")] * 20))

    task = asyncio.create_task(publish_all_the_time())
    await asyncio.sleep(0)
    done = await truncate_log(two_runs.settings, "2", [tmp_path / "1.zip"])
    over.set()
    await task
    first, last = await ends(two_runs)
    assert first == done.first
    assert sequences == list(range(sequences[0], last + 1))


async def test_an_interrupted_truncation_is_finished(
    two_runs: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash between closing and cutting nothing is lost, every vmr says what to do, and the same command does it."""
    manifest = await create_archive(two_runs, "1", tmp_path / "1.zip")
    before = await ends(two_runs)

    async def crash(_connection: Connection, _db: str, _info: Any) -> Any:
        raise LogUnavailableError("crash")

    with monkeypatch.context() as patched:
        patched.setattr(truncating, "_cut", crash)
        with pytest.raises(LogUnavailableError, match="crash"):
            await truncate_log(two_runs.settings, "2", [tmp_path / "1.zip"])
    assert await ends(two_runs) == before
    monkeypatch.setattr(streams, "_TRUNCATION_SECONDS", 0.2)
    with pytest.raises(LogUnavailableError, match="`vmr log truncate` finishes it"):
        await AsyncLog.connect(two_runs.settings)
    done = await truncate_log(two_runs.settings, "2", [tmp_path / "1.zip"])
    assert (done.first, done.removed) == (manifest.last + 1, manifest.events)
    assert await two_runs.publish(VmAdded(server_uuid="x", server_name="x")) == before[1] + 1


async def test_nothing_is_removed_without_proof(two_runs: AsyncLog, tmp_path: Path) -> None:
    """An archive that is not whole, that lacks events, or is of another record; and a run with nothing before it."""
    before = await ends(two_runs)
    await create_archive(two_runs, "1", tmp_path / "1.zip")
    await create_archive(two_runs, "1", tmp_path / "some.zip", until=50)
    with pytest.raises(InvalidInputError, match="event 51 is in none of the archives"):
        await truncate_log(two_runs.settings, "2", [tmp_path / "some.zip"])
    with pytest.raises(InvalidInputError, match="run 1 begins with event 1, and the log has none before it"):
        await truncate_log(two_runs.settings, "1", [tmp_path / "1.zip"])
    cut = Path(shutil.copy(tmp_path / "1.zip", tmp_path / "cut.zip"))
    os.truncate(cut, (await asyncio.to_thread(cut.stat)).st_size - 1)
    with pytest.raises(DamagedArchiveError, match=r"nothing was removed: .*every event is whole"):
        await truncate_log(two_runs.settings, "2", [cut])
    assert await ends(two_runs) == before


async def test_an_archive_of_another_record_proves_nothing(two_runs: AsyncLog, tmp_path: Path) -> None:
    """The same sequences with other events."""
    await create_archive(two_runs, "1", tmp_path / "1.zip")
    other = msgspec.structs.replace(two_runs.settings, db=f"{two_runs.db}x")
    async with await AsyncLog.connect(other) as log, serving(query_service.main, log, "last_sequence"):
        await publish_run(log)
        await log.clear()
        with pytest.raises(InvalidInputError, match=r"nothing was removed: event 1 of .* is another than the log's"):
            await truncate_log(other, "2", [tmp_path / "1.zip"])
