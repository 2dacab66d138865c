"""Family `store`: a 200 MB file into a resource store and out of it again, on one host, against nats-py's own object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from harness import Goal, Row, fresh_log, repeat, row
from nats.js.api import ObjectMeta, ObjectMetaOptions
from nats.js.object_store import ObjectStore

from vmr.log import AsyncLog
from vmr.vm_resource_store import VmResourceStore

_SIZE = 200 * 1000 * 1000
_MEGABYTES = _SIZE / 1e6
_TIMES = 3
_CHUNK = 1024 * 1024 - 4096
_BASELINE = "nats-py object store"


class _Files:
    """Files of which no two have the same content, so that none is there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._block = os.urandom(1000 * 1000)

    def next(self) -> Path:
        """Return the path of a new file; the one before is gone."""
        self._count += 1
        path = self._folder / "file.bin"
        with path.open("wb") as file:
            file.write(self._count.to_bytes(8))
            for _ in range(_SIZE // len(self._block)):
                file.write(self._block)
            file.truncate(_SIZE)
        return path


async def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(work)
    return _MEGABYTES / (time.perf_counter() - began)


async def _put(store: VmResourceStore, files: _Files) -> float:
    path = files.next()
    return await _timed(lambda: store.add_file(path))


def _forget_copies(store: VmResourceStore) -> None:
    for copy in Path(store.cache).iterdir():
        shutil.rmtree(copy)


async def _get(store: VmResourceStore) -> float:
    await asyncio.to_thread(_forget_copies, store)
    return await _timed(lambda: store.get_path("file.bin"))


async def _raw_put(objects: ObjectStore, files: _Files) -> float:
    with files.next().open("rb") as file:
        began = time.perf_counter()
        meta = ObjectMeta(name="file.bin", options=ObjectMetaOptions(max_chunk_size=_CHUNK))
        await objects.put("file.bin", file, meta=meta)
        return _MEGABYTES / (time.perf_counter() - began)


async def _raw_get(objects: ObjectStore, target: Path) -> float:
    began = time.perf_counter()
    with target.open("wb") as file:
        await objects.get("file.bin", writeinto=file)
    return _MEGABYTES / (time.perf_counter() - began)


async def measure() -> list[Row]:
    """Return the family's rows."""
    async with fresh_log() as log:
        home = log.settings.home
        os.environ |= {"VMR_HOME": str(home), "VMR_DB": log.db}
        os.environ.pop("VMR_URL", None)
        with await asyncio.to_thread(VmResourceStore) as store:
            return await _measure(log, store, home)


async def _measure(log: AsyncLog, store: VmResourceStore, home: Path) -> list[Row]:
    files, target = _Files(home), home / "copy.bin"
    objects = await log.connection.client.jetstream().create_object_store("baseline")
    await _put(store, files)
    puts, raw_puts, gets, raw_gets = await repeat(
        _TIMES,
        lambda: _put(store, files),
        lambda: _raw_put(objects, files),
        lambda: _get(store),
        lambda: _raw_get(objects, target),
    )
    with await asyncio.to_thread(Path(store.get_file_path("file.bin")).open, "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == store.get_file_hash("file.bin")
    goal = Goal(value=250, better="more")
    return [
        row("store", "put_mb_s", "MB/s", puts, goal=goal, baseline=raw_puts, baseline_name=_BASELINE),
        row("store", "get_mb_s", "MB/s", gets, goal=goal, baseline=raw_gets, baseline_name=_BASELINE),
    ]
