"""The handler over a real log: what it records, in which order, and that a second one goes on where the first stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.handler.harness import HOST, bodies, ended, handling, program, publish, until
from vmr.events import (
    AgentAddress,
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentStarted,
    FileTransferred,
    HandlerAttached,
    OutputCaptured,
    SchedulePublished,
    VmAdded,
    VmRebooted,
    VmStateSet,
)
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile, Transfer
from vmr.testing import Behaviour, Output, SimulatedHost, SimulatedProgram


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    """Return a folder for sockets."""
    folder = tmp_path / "s"
    folder.mkdir()
    return folder


async def test_a_run_from_configuration_to_the_last_entry(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Negative entries in order, the barrier over both VMs, the start, the positive entry; output and exit codes with them."""
    programs = {"talk": SimulatedProgram(stdout="out\n", stderr="err\n", exit_code=3)}
    schedules = {
        "a": [program(-5, "second"), program(-10, "talk"), program(1, "later")],
        "b": [program(-1, "only")],
    }
    async with SimulatedHost(sockets, ["a", "b"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, schedules)
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(4, EntryFinished))
    finished = [(each.server_uuid, each.entry) for each in bodies(events, EntryFinished)]
    assert [entry for uuid, entry in finished if uuid == "uuid-a"] == ["-10/talk", "-5/second", "1/later"]
    start = next(each for each in events if isinstance(each.event.body, ExperimentStarted))
    ready = [
        each for each in events if isinstance(each.event.body, VmStateSet) and each.event.body.state == "configured"
    ]
    assert len(ready) == 2
    assert max(each.sequence for each in ready) < start.sequence
    talk = next(each for each in bodies(events, EntryFinished) if each.entry == "-10/talk")
    assert (talk.exit_code, talk.stdout_size, talk.stderr_size) == (3, 4, 4)
    output = {(each.stream, each.text) for each in bodies(events, OutputCaptured)}
    assert output == {("stdout", "out\n"), ("stderr", "err\n")}
    late = next(each for each in bodies(events, EntryStarted) if each.entry == "1/later")
    due = late.due
    assert due is not None
    assert isinstance(start.event.body, ExperimentStarted)
    assert (due - start.event.body.start_time).total_seconds() == 1.0


async def test_output_is_recorded_while_the_program_runs(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Bytes written before the end are in the log before the end, at their offsets, whatever they are."""
    pieces = (Output(data=b"\xff\x00\xc3", at=0.0), Output(data=b"\xa9 rest", at=1.0))
    programs = {"slow": SimulatedProgram(duration=1.5, output=pieces)}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-1, "slow")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
    chunks = bodies(events, OutputCaptured)
    assert len(chunks) >= 2
    data = b"".join(each.data or (each.text or "").encode() for each in chunks)
    assert data == b"\xff\x00\xc3\xa9 rest"
    assert chunks[1].offset == chunks[0].size


async def test_a_second_handler_goes_on_with_running_programs(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Nothing runs twice and no byte is lost or doubled when a handler is replaced while a program runs."""
    pieces = tuple(Output(f"{number}\n", at=number * 0.25) for number in range(8))
    programs = {"slow": SimulatedProgram(duration=2.0, output=pieces), "quick": SimulatedProgram(stdout="q\n")}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "quick"), program(-2, "slow"), program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(2, OutputCaptured))
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(3, EntryFinished))
    assert len(bodies(events, EntryStarted)) == 3
    assert len(bodies(events, HandlerAttached)) == 2
    slow = [each for each in bodies(events, OutputCaptured) if each.entry == "-2/slow"]
    assert "".join(each.text or "" for each in slow) == "".join(f"{number}\n" for number in range(8))


async def test_reboot_by_exit_code_and_by_file(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """One reboot for both requesters, who run again; the third does not."""
    programs = {"file": SimulatedProgram(reboots=1)}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "file"), program(-5, "plain"), program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(4, EntryFinished))
    assert [each.entries for each in bodies(events, VmRebooted)] == [("-5/file",)]
    started = [(each.entry, each.attempt) for each in bodies(events, EntryStarted)]
    assert started == [("-5/file", 1), ("-5/plain", 1), ("-5/file", 2), ("-1/after", 1)]


async def test_a_guest_that_reboots_by_itself_loses_what_ran(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The reboot is recorded, the program that was cut off is lost and not run again, and the schedule goes on."""
    programs = {"endless": SimulatedProgram(duration=float("inf"), stdout="begun\n")}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "endless"), program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, OutputCaptured))
            await guests.reset("a")
            events = await until(log, ended(1, EntryFinished))
    assert [each.entries for each in bodies(events, VmRebooted)] == [()]
    lost = bodies(events, EntryLost)
    assert [(each.entry, each.stdout_size) for each in lost] == [("-5/endless", 6)]
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-5/endless", "-1/after"]


async def test_files_are_loaded_and_copied_out(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Content and resources reach the guest byte for byte, small and large, and come out again checksummed."""
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(range(256)) * 2000)
    await log.put_resource(big)
    files = (EntryFile("/data/text", content="é\r\n"), EntryFile("/data/big", resource="big.bin"))
    entries = [
        Entry(id="drop", start_time=-5, files=files),
        Entry(id="pull", start_time=-1, transfer=Transfer("/data/*")),
    ]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    copies = {each.guest_path: Path(each.host_path) for each in bodies(events, FileTransferred)}
    assert copies["/data/text"].read_bytes() == "é\r\n".encode()
    assert copies["/data/big"].read_bytes() == big.read_bytes()
    assert copies["/data/big"].is_relative_to(tmp_path / "h" / "transfers" / "a")


async def test_a_missing_file_fails_its_vm_and_says_which(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A file that is in no store is found before anything runs, and the VM's state says why it failed."""
    entry = Entry(id="x", start_time=-1, executable="x", files=(EntryFile("x", resource="nowhere.sh"),))
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [entry]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, lambda all_: any(s.state == "failed" for s in bodies(all_, VmStateSet)))
    assert "nowhere.sh" in bodies(events, EntryFailed)[0].error
    assert not bodies(events, EntryStarted)


async def test_vms_and_entries_that_come_later(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A running handler takes VMs that are added to its host, and runs entries that are appended to schedules."""
    async with SimulatedHost(sockets, ["a", "b"]) as guests:
        await publish(log, {"a": guests.sockets["a"]}, {"a": [program(-5, "one")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, EntryFinished))
            await log.publish(
                VmAdded(server_uuid="uuid-b", server_name="b", agent=AgentAddress(HOST, str(guests.sockets["b"])))
            )
            await log.publish(SchedulePublished(server_name="b", entries=(program(-5, "two"),)))
            await until(log, ended(2, EntryFinished))
            await log.publish(SchedulePublished(server_name="a", entries=(program(-5, "one"), program(-9, "pushed"))))
            events = await until(log, ended(3, EntryFinished))
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-5/one", "-5/two", "-9/pushed"]


async def test_the_next_run_of_the_same_guests_starts_afresh(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """After a clearing the same entry on the same guest runs again, and what the first run left is set aside."""
    async with SimulatedHost(sockets, ["a"]) as guests, handling(log, tmp_path / "h"):
        for count in (1, 2):
            await publish(log, guests.sockets, {"a": [program(-5, "one")]})
            events = await until(log, ended(count, EntryFinished))
            await until(log, ended(count, ExperimentStarted))
            await log.clear()
    assert [each.attempt for each in bodies(events, EntryStarted)] == [1, 1]


async def test_two_handlers_of_one_host_do_not_share_a_vm(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The second handler takes the VM; the first lets go, and every entry still runs once."""
    programs = {"slow": SimulatedProgram(duration=1.0, stdout="x" * 100)}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "slow"), program(-4, "after"), program(-3, "last")]})
        async with handling(log, tmp_path / "one") as first:
            await until(log, ended(1, EntryStarted))
            async with handling(log, tmp_path / "two") as second:
                events = await until(log, ended(3, EntryFinished))
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-5/slow", "-4/after", "-3/last"]
    assert [each.handler for each in bodies(events, HandlerAttached)] == [first.identity, second.identity]
    assert sum(each.size for each in bodies(events, OutputCaptured)) == 100


async def test_a_program_is_killed_when_its_time_is_over(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The end is recorded as that of a killed program, with what it wrote, and the schedule goes on."""
    programs = {"endless": SimulatedProgram(duration=float("inf"), stdout="begun\n")}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "endless", timeout=1.0), program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    killed, after = bodies(events, EntryFinished)
    assert (killed.exit_code, killed.timed_out, killed.stdout_size) == (137, True, 6)
    assert (after.exit_code, after.timed_out) == (0, False)


async def test_programs_on_the_host(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Arguments are words and no shell reads them; output, exit code and files are those of any entry; a hung one is killed."""
    script = EntryFile("say.sh", content='#!/bin/sh\nprintf "%s|" "$@"; exit 3\n', executable=True)
    entries = [
        program(-5, "say.sh", "'two words' $HOME >x; *", on_host=True, files=(script,)),
        program(-4, "sleep", "100", on_host=True, timeout=0.5),
        program(-3, "/nowhere/at/all", on_host=True),
        program(-2, "sh", "-c 'echo $((1+1))'", on_host=True),
    ]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(4, EntryFinished))
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [3, 137, 127, 0]
    output = [each.text for each in bodies(events, OutputCaptured) if each.stream == "stdout"]
    assert output == ["two words|$HOME|>x;|*|", "2\n"]


async def test_existing_files_stay_unless_they_are_to_be_overwritten(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """FIREWHEEL's rule by default; an entry can say otherwise."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        for name in ("kept", "replaced"):
            guests.guests["a"].files.make_folders("/data")
            guests.guests["a"].files.create(f"/data/{name}", data=b"old")
        entries = [
            Entry(id="1", start_time=-5, files=(EntryFile("/data/kept", content="new"),)),
            Entry(id="2", start_time=-5, files=(EntryFile("/data/replaced", content="new"),), overwrite=True),
        ]
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(2, EntryFinished))
        files = guests.guests["a"].files
        assert (files.read("/data/kept"), files.read("/data/replaced")) == (b"old", b"new")
