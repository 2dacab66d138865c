"""Guests outlive their starter: another process finds them, uses them, restarts them, and ends exactly them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from vmr.agent import GuestAgent
from vmr.errors import DataError, GuestError, InvalidInputError
from vmr.guests import Backend, GuestSpec, backend, record, running

START = """
import asyncio, sys, time
from pathlib import Path
from vmr.guests import GuestSpec, backend
specs = [GuestSpec(name=name) for name in sys.argv[2].split()]
asyncio.run(backend("agent").start(specs, Path(sys.argv[1])))
print("up", flush=True)
time.sleep(1000)
"""


async def start_and_kill(folder: Path, names: str) -> None:
    """Start guests in another process and kill that one with -9 once they are up."""
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, str(folder), names, stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    assert await starter.stdout.readline() == b"up\n"
    starter.send_signal(signal.SIGKILL)
    await starter.communicate()


async def test_guests_are_adopted_after_their_starter_was_killed(
    real: Callable[[str], Backend], tmp_path: Path
) -> None:
    """The successor finds the same guests alive and answering, a start changes nothing, and a stop ends all of them."""
    guests = real("agent")
    await start_and_kill(tmp_path, "a b")
    try:
        adopted = guests.adopt(tmp_path)
        assert set(adopted) == {"a", "b"}
        pids = [guest.pid for guest in running(tmp_path)]
        async with GuestAgent(adopted["a"]) as agent:
            await agent.ping()
        assert await guests.start([GuestSpec(name="a"), GuestSpec(name="b")], tmp_path) == adopted
        assert [guest.pid for guest in running(tmp_path)] == pids
    finally:
        await guests.stop(tmp_path)
    assert running(tmp_path) == []
    assert guests.adopt(tmp_path) == {}
    assert not any(path.exists() for path in adopted.values())


async def test_stop_ends_the_folders_guests_only(real: Callable[[str], Backend], tmp_path: Path) -> None:
    """Two runs on one host do not touch each other."""
    guests, one, other = real("agent"), tmp_path / "one", tmp_path / "other"
    await guests.start([GuestSpec(name="a")], one)
    try:
        await guests.start([GuestSpec(name="a")], other)
        await guests.stop(other)
        assert set(guests.adopt(one)) == {"a"}
        assert running(other) == []
        assert {guest.folder for guest in running()} >= {one.resolve()}
    finally:
        await guests.stop(one)


async def test_a_guest_without_a_record_is_ended_too(real: Callable[[str], Backend], tmp_path: Path) -> None:
    """A starter killed between a guest's start and its record leaves a guest that a stop finds by its mark."""
    guests = real("agent")
    await start_and_kill(tmp_path, "a")
    known = record.load(tmp_path)
    assert known is not None
    record.forget(tmp_path, None)
    assert len(running(tmp_path)) == 1
    await guests.stop(tmp_path)
    assert running(tmp_path) == []
    record.forget(tmp_path, known)


async def test_guests_whose_sockets_are_gone_are_started_anew(real: Callable[[str], Backend], tmp_path: Path) -> None:
    """Guests that nobody can reach any more, because their sockets were deleted, are replaced by ones that answer."""
    guests, specs = real("agent"), [GuestSpec(name="a")]
    before = await guests.start(specs, tmp_path)
    try:
        known = record.load(tmp_path)
        assert known is not None
        shutil.rmtree(known.runtime)
        after = await guests.start(specs, tmp_path)
        assert after != before
        assert len(running(tmp_path)) == 1
    finally:
        await guests.stop(tmp_path)


async def test_a_run_of_another_kind_is_refused(real: Callable[[str], Backend], tmp_path: Path) -> None:
    """A folder has guests of one kind, and a running guest keeps the settings that it was started with."""
    guests = real("agent")
    await guests.start([GuestSpec(name="a")], tmp_path)
    try:
        with pytest.raises(InvalidInputError, match="guests of kind 'agent'"):
            await real("vm").start([GuestSpec(name="a")], tmp_path)
        with pytest.raises(InvalidInputError, match="runs with other settings"):
            await guests.start([GuestSpec(name="a", memory_mb=256)], tmp_path)
        assert set(guests.adopt(tmp_path)) == {"a"}
    finally:
        await guests.stop(tmp_path)


async def test_one_process_at_a_time_starts_or_stops(tmp_path: Path) -> None:
    """While a folder's guests are being started by one process, another is told so."""
    with record.exclusive(tmp_path), pytest.raises(GuestError, match="another process"):
        await backend("agent").stop(tmp_path)


async def test_a_folder_without_guests_stops_silently(tmp_path: Path) -> None:
    """Stopping nothing is no error, whether the folder is there or not."""
    await backend("vm").stop(tmp_path)
    await backend("vm").stop(tmp_path / "never")
    assert backend("vm").adopt(tmp_path / "never") == {}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    """A record that does not decode is an error that names the file and what to do with it."""
    (tmp_path / "guests.json").write_bytes(msgspec.json.encode({"backend": 1}))
    with pytest.raises(DataError, match=r"guests\.json is not a record"):
        backend("vm").adopt(tmp_path)


def test_sockets_have_short_private_paths(tmp_path: Path) -> None:
    """However deep the preferred place, a socket's path fits into 107 bytes, in a folder of the user's own."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    runtime = record.make_runtime(deep)
    try:
        assert len(bytes(runtime / "999/socket/socket")) <= 107
        assert runtime.stat().st_mode & 0o077 == 0
    finally:
        runtime.rmdir()


def test_a_common_folder_of_others_is_refused(tmp_path: Path) -> None:
    """A folder for sockets that others may write to is not used."""
    short = Path("/tmp") / tmp_path.parent.name[-8:]
    short.mkdir(exist_ok=True)
    common = record.make_runtime(short).parent
    common.chmod(0o777)
    try:
        with pytest.raises(GuestError, match="must be a folder of yours alone"):
            record.make_runtime(short)
    finally:
        for path in [*common.iterdir(), common, short]:
            path.rmdir()
