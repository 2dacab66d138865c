"""Defects 12, 21 and 22, and those without a number (security, files of one name): what several people and machines share."""

from __future__ import annotations

import asyncio
import os
import pickle
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.handler.harness import bodies, ended, handling, program, publish, until
from tests.interface.in_force import use
from tests.readmodel.conftest import serving
from vmr import api, query_service, utils
from vmr.errors import DataError
from vmr.events import EntryFinished, EntryStarted, ExperimentPaused, FileTransferred, SchedulePublished
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile, Transfer
from vmr.schedule_db import ScheduleDb, decode_schedule, encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.settings import Settings
from vmr.testing import SimulatedHost
from vmr.transfers import host_path
from vmr.vm_mapping import VMMapping


def _program(time: float, argument: str) -> ScheduleEntry:
    entry = ScheduleEntry(time)
    entry.set_executable("/bin/echo", argument)
    return entry


async def test_defect_12_times_are_found_by_number_and_text(
    log: AsyncLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`get_vm_times` filters by -10 and by "-10", and 0 is a time like any other."""
    use(settings, monkeypatch)

    def ask() -> list[dict[str, str]]:
        with VMMapping() as mapping:
            mapping.batch_put([{"server_uuid": str(t), "server_name": f"at {t}"} for t in (-10, 0, 10)])
            for t in (-10, 0, 10):
                mapping.set_vm_time_by_uuid(str(t), t)
            return [api.get_vm_times(wanted, mapping) for wanted in (-10, "-10", 0, "0", 7)]

    async with serving(query_service.main, log, "last_sequence"):
        found = await asyncio.to_thread(ask)
    assert found == [{"at -10": "-10"}, {"at -10": "-10"}, {"at 0": "0"}, {"at 0": "0"}, {}]


async def test_defect_9_a_state_of_an_unknown_vm_is_an_error_and_leaves_no_trace(
    log: AsyncLog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the documented interface: the stale handler is told, and nobody waits for its VM."""
    use(settings, monkeypatch)

    def report() -> tuple[int, int]:
        with VMMapping() as mapping:
            mapping.put("known", "known")
            before = mapping.get_count_vm_not_ready()
            with pytest.raises(RuntimeError):
                utils.set_vm_state("stale", "configuring", mapping)
            with pytest.raises(RuntimeError):
                utils.set_vm_time("stale", 5, mapping)
            return before, mapping.get_count_vm_not_ready()

    async with serving(query_service.main, log, "last_sequence"):
        assert await asyncio.to_thread(report) == (1, 1)


def test_defect_21_writers_at_the_same_time_lose_no_entry_and_no_address(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many add to one schedule at once: all entries are there afterwards, and the address that was put with it, too."""
    use(settings, monkeypatch)

    def add(number: int) -> None:
        with ScheduleDb() as mine:
            mine.append("vm", [_program(-100_000, f"{number}")])

    with ScheduleDb() as db:
        db.put("vm", encode_schedule([_program(-5, "first")]), "10.0.0.7")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(24)))
        (row,) = db.list_all("vm")
    arguments = {entry.arguments for entry in decode_schedule(row["text"])}
    assert arguments == {"first", *(f"{number}" for number in range(24))}
    assert row["ip"] == "10.0.0.7"


async def test_defect_22_nine_instant_entries_take_no_poll(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """What cost about 100 seconds costs less than two, on a busy machine as well: no step waits for a timer."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [program(-n, "x") for n in range(9, 0, -1)]})
        begun = time.monotonic()
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(9, EntryFinished))
        assert time.monotonic() - begun < 2
    assert len(bodies(events, EntryStarted)) == 9


async def test_defect_22_a_resume_and_a_pushed_entry_act_at_once(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """From the event to the launch: a fraction of a second, not the 10 to 20 of a poll."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        await log.publish(ExperimentPaused())
        await publish(log, guests.sockets, {"a": [program(-1, "held")]})
        async with handling(log, tmp_path / "h"):
            await until(log, lambda all_: any(each.event.type == "vm.state_set" for each in all_))
            delays = []
            for count, act in enumerate((_resume, _push), 1):
                begun = time.monotonic()
                await act(log)
                await until(log, ended(count, EntryFinished))
                delays.append(time.monotonic() - begun)
    assert max(delays) < 1


async def _resume(log: AsyncLog) -> None:
    await log.resume()


async def _push(log: AsyncLog) -> None:
    entries = (program(-1, "held"), program(-100_000, "pushed"))
    await log.publish(SchedulePublished(server_name="a", entries=entries))


class _Trap:
    """Something that leaves a trace when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


async def test_defect_32_a_pickle_is_never_loaded(
    log: AsyncLog, settings: Settings, monkeypatch: pytest.MonkeyPatch, sockets: Path, tmp_path: Path
) -> None:
    """A pickled schedule comes back as it was put, the handler refuses its VM, and nothing in it is executed."""
    use(settings, monkeypatch)
    trap = tmp_path / "trap"
    text = pickle.dumps([_Trap(str(trap))])

    def put() -> bytes | None:
        with ScheduleDb() as db:
            db.put("a", text, None)
            return db.get("a")

    assert await asyncio.to_thread(put) == text
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {})
        async with handling(log, tmp_path / "h"):
            events = await until(log, lambda all_: any(each.event.type == "vm.state_set" for each in all_))
    assert [getattr(each.event.body, "state", "") for each in events if each.event.type == "vm.state_set"] == ["failed"]
    assert not trap.exists()


async def test_defect_32_copies_are_their_owners_and_stay_in_their_folder(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """No folder and no file that comes out of a guest is writable by everybody, and no name in a guest leads elsewhere."""
    old = os.umask(0o027)
    try:
        entries = [
            Entry(id="in", start_time=-2, files=(EntryFile("/data/a/b", content="x", executable=True),)),
            Entry(id="out", start_time=-1, transfer=Transfer("/data")),
        ]
        async with SimulatedHost(sockets, ["a"]) as guests:
            await publish(log, guests.sockets, {"a": entries})
            async with handling(log, tmp_path / "h"):
                events = await until(log, ended(2, EntryFinished))
    finally:
        os.umask(old)
    (copy,) = [Path(each.host_path) for each in bodies(events, FileTransferred)]
    root = tmp_path / "h" / "transfers"
    for path in (copy, *(each for each in copy.parents if each.is_relative_to(root))):
        assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0, path
    for hostile in ("/../x", "/a/../../../x", "relative", "", "/a\0b"):
        with pytest.raises(DataError):
            host_path(root, "a", hostile)
    for name in ("..", ".", "", "a/../../b", "/etc"):
        assert host_path(root, name, "/x").is_relative_to(root)
        assert ".." not in host_path(root, name, "/x").parts


async def test_defect_32_names_in_a_schedule_are_never_shell_text(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A path with quotes, spaces, dollars and newlines is a path."""
    wild = "/tmp/a b$(touch /tmp/pwned)'\";rm -rf x\n/file"
    drop = Entry(id="drop", start_time=-1, files=(EntryFile(wild, content="x"),))
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [drop]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, EntryFinished))
        assert guests.guests["a"].files.read(wild) == b"x"


async def test_defect_33_a_name_whose_content_changed_is_not_served_from_an_old_copy(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """Two contents that were stored under one name, one after the other: who names it then gets the one that it names now."""
    contents = [os.urandom(100_000), os.urandom(100_000)]
    files = []
    for number, content in enumerate(contents):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "same.bin").write_bytes(content)
        files.append(folder / "same.bin")

    def drop(number: int) -> Entry:
        return Entry(id=f"drop {number}", start_time=-1, files=(EntryFile(f"/tmp/{number}", resource="same.bin"),))

    async with SimulatedHost(sockets, ["a"]) as guests, handling(log, tmp_path / "h"):
        await log.put_resource(files[0])
        await publish(log, guests.sockets, {"a": [drop(0)]})
        await until(log, ended(1, EntryFinished))
        await log.put_resource(files[1])
        await log.publish(SchedulePublished(server_name="a", entries=(drop(0), drop(1))))
        await until(log, ended(2, EntryFinished))
        assert [guests.guests["a"].files.read(f"/tmp/{number}") for number in (0, 1)] == contents
