"""Defects 23 to 26: attempts are recorded and bounded, and nothing is executed twice. Through a handler and simulated guests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.defects.hasty import handling_hastily
from tests.handler.harness import bodies, ended, handling, program, publish, until
from tests.unit.driving import Drive, entry
from vmr.events import EntryFailed, EntryFinished, EntryStarted, OutputCaptured, Recorded, VmStateSet
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile
from vmr.testing import Behaviour, Fault, SimulatedHost, SimulatedProgram
from vmr.vm_state import MAX_ATTEMPTS

SLOW = Behaviour(programs={"slow": SimulatedProgram(duration=0.3, stdout="once\n")})


def _executions(guests: SimulatedHost, entry: str) -> list[str]:
    """Return the claims that the guest holds for an entry: one for each execution."""
    return list(guests.guests["a"].files.find(f"/var/launch/{entry}/attempt-?/stdout"))


def failed(events: list[Recorded]) -> bool:
    """Return whether a VM has failed."""
    return any(each.state == "failed" for each in bodies(events, VmStateSet))


@pytest.mark.parametrize("action", ["drop", "lose", "refuse", "garbage"])
async def test_defect_23_a_failed_status_poll_runs_nothing_again(
    log: AsyncLog, sockets: Path, tmp_path: Path, action: str
) -> None:
    """Whatever becomes of the question how a program is doing, it is executed once and its output is recorded once."""
    fault = Fault(action, "guest-exec-status", data=b'{"return": []}\n')  # type: ignore[arg-type]
    async with SimulatedHost(sockets, ["a"], SLOW) as guests:
        await publish(log, guests.sockets, {"a": [program(-2, "slow"), program(-1, "after")]})
        async with handling_hastily(log, tmp_path / "h"):
            await until(log, ended(1, EntryStarted))
            guests.guests["a"].inject(fault)
            events = await until(log, ended(2, EntryFinished))
        assert _executions(guests, "-2/slow") == ["/var/launch/-2/slow/attempt-1/stdout"]
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-2/slow", "-1/after"]
    assert [each.text for each in bodies(events, OutputCaptured)] == ["once\n"]


@pytest.mark.parametrize("action", ["drop", "lose", "garbage"])
async def test_defect_23_a_launch_without_an_answer_runs_once(
    log: AsyncLog, sockets: Path, tmp_path: Path, action: str
) -> None:
    """No process id came: whether the program was started or not, in the end it has run once."""
    fault = Fault(action, "guest-exec", data=b'{"return": []}\n')  # type: ignore[arg-type]
    async with SimulatedHost(sockets, ["a"], SLOW) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "slow"), program(-2, "next"), program(-1, "after")]})
        async with handling_hastily(log, tmp_path / "h"):
            await until(log, ended(1, EntryStarted))
            guests.guests["a"].inject(Fault("delay", "guest-exec"), fault)
            events = await until(log, ended(3, EntryFinished))
        assert _executions(guests, "-2/next") == ["/var/launch/-2/next/attempt-1/stdout"]
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-5/slow", "-2/next", "-1/after"]


async def test_defect_23_a_fast_script_runs_once(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """However soon a script is done: PowerShell or not, once is enough, and its exit code is believed."""
    quick = {"powershell*": SimulatedProgram(exit_code=1, stdout="fast\n"), "touch": SimulatedProgram()}
    shell = program(-2, "powershell", "-ExecutionPolicy Bypass -File setup.ps1")
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=quick)) as guests:
        await publish(log, guests.sockets, {"a": [shell, program(-1, "touch")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    assert [(each.entry, each.attempt) for each in bodies(events, EntryStarted)] == [
        ("-2/powershell", 1),
        ("-1/touch", 1),
    ]
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [1, 0]


async def test_defect_24_a_guest_that_answers_nonsense_is_given_up(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """Each step is tried a bounded number of times; then the VM fails, and its state says why."""
    async with SimulatedHost(sockets, ["a"]) as guests:
        guests.guests["a"].inject(*(Fault("refuse", "guest-exec-status") for _ in range(1000)))
        await publish(log, guests.sockets, {"a": [program(-1, "x")]})
        async with handling_hastily(log, tmp_path / "h"):
            events = await until(log, failed)
    assert "does not do what is asked" in bodies(events, VmStateSet)[-1].reason
    assert not bodies(events, EntryStarted)


async def test_defect_24_a_folder_that_cannot_be_made_is_tried_once(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """What cannot be put into the guest fails its entry at once, saying what and why."""
    drop = Entry(id="drop", start_time=-1, files=(EntryFile("/etc/file/below", content="x"),))
    async with SimulatedHost(sockets, ["a"]) as guests:
        guests.guests["a"].files.make_folders("/etc")
        guests.guests["a"].files.create("/etc/file")
        await publish(log, guests.sockets, {"a": [drop]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, failed)
    (failure,) = bodies(events, EntryFailed)
    assert "/etc/file/below" in failure.error


def test_defect_24_reboots_are_counted_and_end() -> None:
    """An entry that asks for a reboot each time runs as often as the limit says, and then its VM fails."""
    drive = Drive(entry(-10, "a"))
    while drive.vm.state != "failed":
        drive.step()
        if drive.vm.entries["-10/a"].running:
            drive.finish("-10/a", 10, reboot=True)
    assert len(drive.order) == MAX_ATTEMPTS
    assert f"{MAX_ATTEMPTS} times" in drive.vm.reason


async def test_defect_25_text_of_any_script_reaches_the_guest(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Content, arguments and names that are not ASCII, small and large: as UTF-8, byte for byte, at the first try."""
    small, large = "Größe ☃ 雪 𝄞\r\n", "é𝄞" * 40_000
    files = (EntryFile("/tmp/größe", content=small), EntryFile("/tmp/large", content=large))
    entries = [Entry(id="drop", start_time=-2, files=files), program(-1, "echo", "größe 雪")]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
        assert guests.guests["a"].files.read("/tmp/größe") == small.encode()
        assert guests.guests["a"].files.read("/tmp/large") == large.encode()
    assert [each.text for each in bodies(events, OutputCaptured)] == ["größe 雪\n"]


@pytest.mark.parametrize("action", ["drop", "lose"])
async def test_defect_26_a_lost_chunk_is_tried_again(log: AsyncLog, sockets: Path, tmp_path: Path, action: str) -> None:
    """An answer that is lost in the middle of a file makes the file go again as a whole: it arrives as it is."""
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(1_300_000))
    await log.put_resource(big)
    drop = Entry(id="drop", start_time=-1, files=(EntryFile("/tmp/big", resource="big.bin"),))
    async with SimulatedHost(sockets, ["a"]) as guests:
        guests.guests["a"].inject(Fault("delay", "guest-file-write"), Fault(action, "guest-file-write"))  # type: ignore[arg-type]
        await publish(log, guests.sockets, {"a": [drop]})
        async with handling_hastily(log, tmp_path / "h"):
            await until(log, ended(1, EntryFinished))
        assert guests.guests["a"].files.read("/tmp/big") == big.read_bytes()


async def test_defect_26_a_refused_chunk_is_said_as_it_is(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A refusal is an answer, not a loss: it is told in the agent's words, and no other number of tries is claimed."""
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(200_000))
    await log.put_resource(big)
    drop = Entry(id="drop", start_time=-1, files=(EntryFile("/tmp/big", resource="big.bin"),))
    async with SimulatedHost(sockets, ["a"]) as guests:
        guests.guests["a"].inject(Fault("refuse", "guest-file-write"))
        await publish(log, guests.sockets, {"a": [drop]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, failed)
    (failure,) = bodies(events, EntryFailed)
    assert "/tmp/big" in failure.error
    assert "refused" in failure.error
    assert "times" not in failure.error


async def test_defect_24_a_timeout_ends_a_program_that_does_not(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """An entry with a timeout is killed when its time is over, which is recorded, and the schedule goes on."""
    programs = {"endless": SimulatedProgram(duration=float("inf"), stdout="begun\n")}
    entries = [program(-2, "endless", timeout=0.3), program(-1, "after")]
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    first, second = bodies(events, EntryFinished)
    assert (first.entry, first.exit_code, first.timed_out) == ("-2/endless", 137, True)
    assert (second.entry, second.timed_out) == ("-1/after", False)
    assert [each.text for each in bodies(events, OutputCaptured)] == ["begun\n"]
