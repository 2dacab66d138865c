"""Objects: by their hash, once, in constant memory, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vmr.errors import DataError, InvalidInputError
from vmr.events import ResourceUploaded, SchedulePublished
from vmr.log import AsyncLog
from vmr.log._stream import stream_info
from vmr.schedule import Entry, EntryFile, ObjectRef
from vmr.server import EmbeddedServer
from vmr.settings import Settings

MEGABYTE = 1024 * 1024


def names(folder: Path) -> list[str]:
    """Return the names of what is in ``folder``."""
    return [path.name for path in folder.iterdir()]


async def stored(log: AsyncLog) -> int:
    """Return how many messages the object store holds."""
    info = await stream_info(log.connection, f"OBJ_VMR_{log.db}_objects")
    return 0 if info is None else info.state.messages


@pytest.mark.parametrize("size", [0, 1, MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 5 * MEGABYTE + 17])
async def test_bytes_come_back(log: AsyncLog, size: int, tmp_path: Path) -> None:
    """Whatever the size in chunks, as bytes and as a file."""
    content = os.urandom(size)
    ref = await log.put_object(content)
    assert ref == ObjectRef(hashlib.sha256(content).hexdigest(), size)
    assert await log.get_object(ref) == content
    await log.fetch_object(ref, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert names(tmp_path) == ["copy"]


async def test_the_same_content_is_stored_once(log: AsyncLog, tmp_path: Path) -> None:
    """Also when it comes as a file, and from many at the same time."""
    content = os.urandom(2 * MEGABYTE + 1)
    (tmp_path / "file").write_bytes(content)
    ref = await log.put_object(content)
    before = await stored(log)
    assert await log.put_object(tmp_path / "file") == ref
    assert await stored(log) == before == 4
    refs = await asyncio.gather(*(log.put_object(b"together") for _ in range(8)))
    assert len(set(refs)) == 1
    assert await log.get_object(refs[0]) == b"together"


async def test_a_fetched_file_has_the_permissions_of_any_new_file(log: AsyncLog, tmp_path: Path) -> None:
    """The umask decides, not the temporary file's 0600."""
    plain = tmp_path / "plain"
    plain.touch()
    await log.fetch_object(await log.put_object(b"x"), tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


async def test_fifty_megabytes_in_constant_memory(log: AsyncLog, tmp_path: Path) -> None:
    """Neither way holds more than some chunks at a time."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(MEGABYTE))
    tracemalloc.start()
    ref = await log.put_object(source)
    put_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    await log.fetch_object(ref, tmp_path / "copy")
    get_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert put_peak < 32 * MEGABYTE
    assert get_peak < 48 * MEGABYTE
    assert hashlib.sha256((tmp_path / "copy").read_bytes()).hexdigest() == ref.sha256


async def test_a_missing_object_is_an_error_and_leaves_no_file(log: AsyncLog, tmp_path: Path) -> None:
    """Neither half a file nor an empty one appears."""
    ref = ObjectRef("a" * 64, 3)
    with pytest.raises(DataError, match="not in the object store"):
        await log.fetch_object(ref, tmp_path / "copy")
    with pytest.raises(DataError, match="not in the object store"):
        await log.get_object(ref)
    assert names(tmp_path) == []


async def test_a_wrong_chunk_is_noticed(log: AsyncLog, tmp_path: Path) -> None:
    """Somebody replaces a chunk by another of the same size: no reader accepts it, and an older copy stays."""
    ref = await log.put_object(b"x" * 100)
    bucket = f"VMR_{log.db}_objects"
    record = await log._objects._find(ref)
    assert record is not None
    await log.connection.api(
        f"STREAM.PURGE.OBJ_{bucket}", {"filter": f"$O.{bucket}.C.{record.nuid}"}, answer=dict[str, Any]
    )
    await log.connection.request(f"$O.{bucket}.C.{record.nuid}", b"y" * 100, timeout=5)
    (tmp_path / "copy").write_text("older")
    with pytest.raises(DataError, match="does not match its hash"):
        await log.fetch_object(ref, tmp_path / "copy")
    with pytest.raises(DataError, match="does not match its hash"):
        await log.get_object(ref)
    assert (tmp_path / "copy").read_text() == "older"
    assert names(tmp_path) == ["copy"]


async def test_the_nats_tool_s_format(log: AsyncLog) -> None:
    """nats-py's own object store, as any other client's, reads what is stored."""
    content = os.urandom(3 * MEGABYTE)
    ref = await log.put_object(content)
    store = await log.connection.client.jetstream().object_store(f"VMR_{log.db}_objects")
    result = await store.get(ref.sha256)
    assert result.data == content
    assert (result.info.size, result.info.chunks) == (3 * MEGABYTE, 3)


async def test_a_file_that_cannot_be_read_is_named(log: AsyncLog, tmp_path: Path) -> None:
    """Missing files and folders are the caller's mistake."""
    with pytest.raises(InvalidInputError, match="none cannot be read: No such file"):
        await log.put_object(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="Is a directory"):
        await log.put_resource(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot be written"):
        await log.fetch_object(ObjectRef("a" * 64, 1), tmp_path / "none" / "copy")


async def test_a_resource_is_an_object_and_an_event(log: AsyncLog, tmp_path: Path) -> None:
    """The event names store, file and object."""
    (tmp_path / "tool.sh").write_bytes(b"#!/bin/sh\n")
    assert await log.put_resource(tmp_path / "tool.sh") == 1
    assert await log.put_resource(str(tmp_path / "tool.sh"), name="größe/x", store="other") == 2
    bodies = [one.event.body async for batch in log.read() for one in batch]
    ref = ObjectRef(hashlib.sha256(b"#!/bin/sh\n").hexdigest(), 10)
    assert bodies == [
        ResourceUploaded(store="vm_resources", name="tool.sh", object=ref),
        ResourceUploaded(store="other", name="größe/x", object=ref),
    ]


async def test_a_schedule_too_large_for_an_event_goes_to_the_object_store(log: AsyncLog) -> None:
    """The event refers to the entries; a small schedule carries them."""
    small = [Entry(id="1/ls", start_time=1, executable="ls")]
    large = [Entry(id="1/x", start_time=1, executable="x", files=(EntryFile("x", content="ü" * 5_000_000),))]
    await log.put_schedule("a", small, ip="10.0.0.1")
    await log.put_schedule("b", large)
    first, second = [one.event.body async for batch in log.read() for one in batch]
    assert first == SchedulePublished(server_name="a", entries=tuple(small), ip="10.0.0.1")
    assert isinstance(second, SchedulePublished)
    assert second.entries == ()
    assert second.entries_object is not None
    content = await log.get_object(second.entries_object)
    assert msgspec.json.decode(content, type=list[Entry]) == large


async def test_a_schedule_that_breaks_a_rule_is_refused(log: AsyncLog) -> None:
    """Nothing is published."""
    with pytest.raises(InvalidInputError, match="time 0 is the barrier"):
        await log.put_schedule("a", [Entry(id="0/x", start_time=0, executable="x")])
    twice = Entry(id="1/x", start_time=1, executable="x")
    with pytest.raises(InvalidInputError, match="two entries have the id '1/x'"):
        await log.put_schedule("a", [twice, twice])
    assert await log.last_sequence() == 0


async def test_a_server_killed_during_an_upload_and_a_download(tmp_path: Path) -> None:
    """Both go on after its restart, and the content is right."""
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    await server.start(die_with_parent=True)
    content = os.urandom(64 * MEGABYTE)

    async def kill() -> None:
        await asyncio.sleep(0.08)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.start(die_with_parent=True)

    try:
        async with await AsyncLog.connect(Settings(home=tmp_path)) as log:
            ref, _ = await asyncio.gather(log.put_object(content), kill())
            found, _ = await asyncio.gather(log.get_object(ref), kill())
            assert found == content
            assert await stored(log) == 65
    finally:
        await server.stop()
