"""Defects 7 to 9, 12 to 14 and 20: what is known outlives its processes, and a failure is seen, bounded and said."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from tests.defects.test_execution import failed
from tests.handler.harness import HOST, bodies, ended, handling, program, publish, until
from vmr.events import (
    AgentAddress,
    EntryFailed,
    EntryFinished,
    EntryStarted,
    ExperimentLaunched,
    ExperimentStarted,
    SchedulePublished,
    VmAdded,
    VmStateSet,
    VmWaived,
)
from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.projector import Projector
from vmr.schedule import Entry, EntryFile
from vmr.server import EmbeddedServer
from vmr.settings import Settings
from vmr.testing import Behaviour, SimulatedHost, SimulatedProgram

MISSING = Entry(id="x", start_time=-1, executable="x", files=(EntryFile("x", resource="nowhere.sh"),))


async def test_defect_7_and_20_the_death_of_the_server_loses_nothing(sockets: Path, tmp_path: Path) -> None:
    """SIGKILL of the server in the middle of a run: states and start are there afterwards, and the handler goes on by itself."""
    settings = Settings(home=tmp_path / "home", db="test")
    server = EmbeddedServer(settings.server_dir)
    await server.start(die_with_parent=True)
    behaviour = Behaviour(programs={"slow": SimulatedProgram(duration=0.5, stdout="once\n")})
    try:
        async with (
            await AsyncLog.connect(settings, producer="test") as log,
            SimulatedHost(sockets, ["a"], behaviour) as guests,
        ):
            await publish(log, guests.sockets, {"a": [program(-1, "x"), program(1, "slow"), program(2, "after")]})
            async with handling(log, tmp_path / "h"):
                before = await until(log, ended(2, EntryStarted))
                os.kill(_pid(server), signal.SIGKILL)
                server = EmbeddedServer(settings.server_dir)
                await server.start(die_with_parent=True)
                events = await until(log, ended(3, EntryFinished))
    finally:
        await server.stop()
    assert [each.event.id for each in events[: len(before)]] == [each.event.id for each in before]
    assert [each.state for each in bodies(events, VmStateSet)] == ["configuring", "configured"]
    assert len(bodies(events, ExperimentStarted)) == 1
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-1/x", "1/slow", "2/after"]


def _pid(server: EmbeddedServer) -> int:
    pid = server.pid
    assert pid is not None
    return pid


async def test_defect_8_a_failed_vm_is_named_and_can_be_waived(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The barrier says who is missing; once that one is waived, the others start."""
    async with SimulatedHost(sockets, ["a", "b"]) as guests:
        await publish(log, guests.sockets, {"a": [MISSING], "b": [program(-1, "x"), program(1, "y")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, lambda all_: failed(all_) and ended(1, EntryFinished)(all_))
            projector = Projector()
            projector.apply(await until(log, lambda all_: len(all_) >= len(events)))
            missing = projector.reader().execute("SELECT server_name, state FROM not_ready").fetchall()
            projector.close()
            assert ("a", "failed") in missing
            assert not bodies(events, ExperimentStarted)
            await log.publish(VmWaived(server_uuid="uuid-a", reason="the test goes on without it"))
            events = await until(log, ended(2, EntryFinished))
    assert len(bodies(events, ExperimentStarted)) == 1
    assert [each.entry for each in bodies(events, EntryFinished)] == ["-1/x", "1/y"]


async def test_defect_9_a_stale_report_does_not_stop_the_next_experiment(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """A state of a VM that nobody added, and one of the run before, leave nothing to wait for."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        await log.publish(VmAdded(server_uuid="old", server_name="old"))
        await log.clear()
        await log.publish(VmStateSet(server_uuid="old", state="configuring"))
        await publish(log, guests.sockets, {"a": [program(-1, "x"), program(1, "y")]})
        await log.publish(VmStateSet(server_uuid="ghost", state="configuring"))
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    assert len(bodies(events, ExperimentStarted)) == 1


async def test_defect_13_after_a_load_failure_the_handler_still_ends(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """A VM that cannot be loaded neither ends the handler nor keeps it: the other VM runs, and a stop stops it at once."""
    async with SimulatedHost(sockets, ["a", "b"]) as guests:
        await publish(log, guests.sockets, {"a": [MISSING], "b": [program(-1, "x")]})
        handler = Handler(log, HOST, tmp_path / "h")
        task = asyncio.create_task(handler.run())
        await until(log, lambda all_: failed(all_) and ended(1, EntryFinished)(all_))
        assert not task.done()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done == {task}


async def test_defect_14_a_missing_file_fails_the_vm_before_anything_runs(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """Files are loaded first: an entry without its file does not run, nor does any before it, and the state says which."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "early"), MISSING]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, failed)
    assert not bodies(events, EntryStarted)
    (failure,) = bodies(events, EntryFailed)
    assert (failure.entry, "nowhere.sh" in failure.error) == ("x", True)
    assert "'x'" in bodies(events, VmStateSet)[-1].reason


async def test_defect_14_a_missing_file_may_be_ignored_and_the_entry_does_not_run(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """With ignore_failure the VM goes on, without the entry that lacks its file."""
    tolerant = Entry(
        id="x", start_time=-2, executable="x", files=(EntryFile("x", resource="nowhere.sh"),), ignore_failure=True
    )
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [tolerant, program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-1/after"]
    assert [each.entry for each in bodies(events, EntryFailed)] == ["x"]


async def test_defect_19_and_20_no_schedule_yet_and_one_that_cannot_be_read(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """A VM without a schedule waits for it; one whose schedule is no schedule fails with a word on it; both hold up nobody."""
    async with SimulatedHost(sockets, ["a", "b", "c"]) as guests:
        for name, path in guests.sockets.items():
            await log.publish(
                VmAdded(server_uuid=f"uuid-{name}", server_name=name, agent=AgentAddress(HOST, str(path)))
            )
        await log.publish(ExperimentLaunched(launch_time=datetime.now(UTC), start_buffer=0))
        opaque = await log.put_object(b"\x80\x04]")
        await log.publish(SchedulePublished(server_name="b", opaque=opaque))
        await log.publish(SchedulePublished(server_name="c", entries=(program(-1, "c"),)))
        async with handling(log, tmp_path / "h"):
            await until(log, lambda all_: failed(all_) and ended(1, EntryFinished)(all_))
            await log.publish(SchedulePublished(server_name="a", entries=(program(-1, "a"),)))
            events = await until(log, ended(2, EntryFinished))
    assert [each.entry for each in bodies(events, EntryFinished)] == ["-1/c", "-1/a"]
    (failure,) = [each for each in bodies(events, VmStateSet) if each.state == "failed"]
    assert failure.server_uuid == "uuid-b"
    assert "encoding" in failure.reason
