"""Checkpoints of a read model that follows a log: what a power failure leaves, and when it is made to last."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.readmodel.recorded_run import recorded_run
from vmr import checkpoints, projector
from vmr.content_hash import content_hash
from vmr.cursor import CursorWatch
from vmr.errors import DataError
from vmr.events import Recorded
from vmr.log import AsyncLog
from vmr.projector import Projector, open_projector, run_projector
from vmr.schedule import ObjectRef

HISTORY = recorded_run()
BATCH = 8


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _hashes(path: Path) -> dict[int, dict[str, str]]:
    """Return what the read model of `HISTORY` holds after each batch."""
    whole, found = Projector(path), {}
    found[0] = content_hash(whole.reader())
    for start in range(0, len(HISTORY), BATCH):
        whole.apply(HISTORY[start : start + BATCH])
        found[whole.cursor] = content_hash(whole.reader())
    whole.close()
    return found


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a read model as it lies on disk in the middle of following: a checkpoint behind it, and then batches."""
    folder = tmp_path_factory.mktemp("pulled")
    following = Projector(folder / "live.duckdb", threads=1, prompt=True)
    for start in range(0, len(HISTORY), BATCH):
        following.apply(HISTORY[start : start + BATCH])
        if start == len(HISTORY) // 2:
            following.checkpoint(quiet=False)
    (folder / "copy").mkdir()
    for file in (folder / "live.duckdb", _wal(folder / "live.duckdb")):
        shutil.copy(file, folder / "copy" / file.name)
    following.close()
    return folder / "copy" / "live.duckdb"


def _torn(data: bytes, chance: random.Random) -> bytes:
    """Return a file as a power failure may leave it: cut, or with pages that were never written."""
    if chance.random() < 0.4:
        return data[: chance.randrange(len(data))]
    first = chance.randrange(0, len(data), 4096)
    pages = range(first, len(data), 4096)
    torn = bytearray(data)
    for page in pages:
        if page == first or chance.random() < 0.5:
            torn[page : page + 4096] = bytes(len(torn[page : page + 4096]))
    return bytes(torn)


def test_a_power_failure_leaves_an_earlier_moment_or_nothing(pulled: Path, tmp_path: Path) -> None:
    """Whatever is torn, rows and cursor agree, and go on to the same end; or the file is refused, and is made anew."""
    hashes = _hashes(tmp_path / "whole.duckdb")
    chance, data = random.Random(1), _wal(pulled).read_bytes()
    cursors = set()
    for number in range(60):
        path = tmp_path / str(number) / "live.duckdb"
        path.parent.mkdir()
        shutil.copy(pulled, path)
        _wal(path).write_bytes(_torn(data, chance))
        try:
            after = Projector(path)
        except DataError:
            cursors.add(-1)
            continue
        assert content_hash(after.reader()) == hashes[after.cursor]
        cursors.add(after.cursor)
        after.apply(HISTORY)
        assert content_hash(after.reader()) == hashes[len(HISTORY)]
        after.close()
    assert len(cursors) > 3


async def test_a_file_that_is_damaged_is_made_anew(log: AsyncLog, tmp_path: Path) -> None:
    """It is put aside, and what is wrong with it is not taken for another process that has it open."""
    path = tmp_path / "read_model.duckdb"
    first = await open_projector(log, path, prompt=True)
    first.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096:12288] = bytes(8192)
    path.write_bytes(damaged)
    again = await open_projector(log, path, prompt=True)
    again.close()
    assert path.with_name("read_model.duckdb.unused").exists()


def test_what_is_closed_is_in_the_file(tmp_path: Path) -> None:
    """Nothing is left to be read from the write-ahead log."""
    following = Projector(tmp_path / "live.duckdb", threads=1, prompt=True)
    following.apply(HISTORY)
    assert _wal(tmp_path / "live.duckdb").stat().st_size > 0
    following.close()
    assert not _wal(tmp_path / "live.duckdb").exists()


def test_a_large_write_ahead_log_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while events come without a pause it does not grow beyond its limit by more than a batch."""
    monkeypatch.setattr(checkpoints, "_LARGE", 20_000)
    following, sizes = Projector(tmp_path / "live.duckdb", threads=1, prompt=True), []
    for start in range(0, len(HISTORY), BATCH):
        following.apply(HISTORY[start : start + BATCH])
        wal = _wal(tmp_path / "live.duckdb")
        sizes.append(wal.stat().st_size if wal.exists() else 0)
    following.close()
    assert max(sizes) < 20_000
    assert sizes.count(0) > 1


def test_one_that_cannot_be_had_is_left_until_more_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While something else is being written there is none, and it is not tried again and again."""
    monkeypatch.setattr(checkpoints, "_WAITED_FOR", 1000)
    following = Projector(tmp_path / "live.duckdb", threads=1, prompt=True)
    following.apply(HISTORY[:BATCH])
    other = following.reader()
    other.execute("BEGIN; CREATE TABLE another (x INTEGER)")
    assert following.wants_checkpoint(quiet=False)
    following.checkpoint(quiet=False)
    assert not following.wants_checkpoint(quiet=False)
    other.execute("ROLLBACK")
    following.apply(HISTORY[BATCH:])
    assert following.wants_checkpoint(quiet=False)
    following.checkpoint(quiet=False)
    assert not _wal(tmp_path / "live.duckdb").exists() or _wal(tmp_path / "live.duckdb").stat().st_size < 1000
    following.close()


class _Source:
    """Gives one batch and then nothing more."""

    async def follow(self, *, start: int) -> AsyncIterator[list[Recorded]]:
        yield HISTORY[start - 1 :]
        await asyncio.Event().wait()

    async def get_object(self, ref: ObjectRef) -> bytes:
        raise NotImplementedError(ref)


async def test_a_quiet_moment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no events come what there is goes to disk, in a checkpoint that merges, and then no more of them are taken."""
    monkeypatch.setattr(checkpoints, "_QUIET", 1)
    monkeypatch.setattr(projector, "_QUIET_SECONDS", 0.01)
    taken, first, loop = list[bool](), asyncio.Event(), asyncio.get_running_loop()
    take = checkpoints.Checkpoints.take

    def noted(self: checkpoints.Checkpoints, *, quiet: bool) -> None:
        take(self, quiet=quiet)
        taken.append(quiet)
        loop.call_soon_threadsafe(first.set)

    monkeypatch.setattr(checkpoints.Checkpoints, "take", noted)
    following, watch = Projector(tmp_path / "live.duckdb", threads=1, prompt=True), CursorWatch()
    task = asyncio.create_task(run_projector(_Source(), following, watch))
    assert await watch.reached(len(HISTORY), within=30)
    await asyncio.wait_for(first.wait(), 30)
    await asyncio.sleep(0.2)
    assert taken == [True]
    assert not following.wants_checkpoint(quiet=True)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    following.close()
