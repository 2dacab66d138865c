r"""Windows guests: a handler over a real log and simulated guests whose agents answer as Windows' agent is documented to do.

What is held here: paths, files, output, exit codes, reboots, kills, transfers and adoption as the handler does them over an agent that
says ``mswindows``, refuses to open a file that a program writes, tells the end of a file only by an empty read, and starts nothing but
what `vmr.spool_windows` sends, word for word. What is not held here: the scripts themselves. ``cmd.exe`` and PowerShell are not there;
the simulation does in Python what they say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.events import (
    EntryFailed,
    EntryFinished,
    EntryStarted,
    FileTransferred,
    OutputCaptured,
    Recorded,
    VmRebooted,
    VmStateSet,
)
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile, Transfer
from vmr.testing import Behaviour, Fault, Output, SimulatedHost, SimulatedProgram


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    """Return a folder for sockets."""
    folder = tmp_path / "s"
    folder.mkdir()
    return folder


def windows(**programs: SimulatedProgram) -> Behaviour:
    """Return the behaviour of Windows guests with these programs."""
    return Behaviour(programs=programs, system="windows")


def text_of(events: list[Recorded], entry: str, stream: str = "stdout") -> str:
    """Return all that an entry wrote."""
    pieces = [each for each in bodies(events, OutputCaptured) if (each.entry, each.stream) == (entry, stream)]
    return "".join(each.text or "" for each in pieces)


def contents(copies: list[FileTransferred]) -> dict[str, bytes]:
    """Return what is in each copy, by the path in the guest."""
    return {each.guest_path: Path(each.host_path).read_bytes() for each in copies}


async def test_a_schedule_from_configuration_to_the_end(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Call scripts, their working directories, output of both streams, exit codes: one schedule, on Windows and elsewhere."""
    programs = {
        "say.exe": SimulatedProgram(stdout="said\r\n", stderr="oops\r\n", exit_code=3),
        "set up.exe": SimulatedProgram(exit_code=-1073741819 & 0xFF),
    }
    schedule = [
        program(-10, "say.exe", "-x 1"),
        program(-5, r"C:\Program Files\set up.exe"),
        program(1, "say.exe"),
    ]
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        await publish(log, guests.sockets, {"a": schedule})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(3, EntryFinished))
        files = guests.guests["a"].files
        script = files.read(r"C:\launch\-10\say.exe\call_arguments.bat")
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [3, 5, 3]
    assert (text_of(events, "-10/say.exe"), text_of(events, "-10/say.exe", "stderr")) == ("said\r\n", "oops\r\n")
    assert script.endswith(b"\r\n:command\r\nsay.exe -x 1\r\n")
    assert script.count(b"\n") == script.count(b"\r\n")
    assert bodies(events, EntryStarted)[0].directory == r"C:\launch\-10\say.exe"


async def test_defect_23_a_fast_powershell_script_runs_once(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A script that ends at once is not run again, and is run with its policy bypassed; its arguments stay as written."""
    script = EntryFile("fast.ps1", content="'done'\n")
    entry = program(-1, "fast.ps1", '-Name "a b" %PATH%', files=(script,))
    async with SimulatedHost(sockets, ["a"], windows(**{"fast.ps1": SimulatedProgram(stdout="done\r\n")})) as guests:
        await publish(log, guests.sockets, {"a": [entry]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
        files = guests.guests["a"].files
        line = files.read(r"C:\launch\-1\fast.ps1\call_arguments.bat").decode().splitlines()[-1]
        assert line == r'powershell -ExecutionPolicy Bypass -File ".\fast.ps1" -Name "a b" %PATH%'
        assert files.read(r"C:\launch\-1\fast.ps1\fast.ps1") == b"'done'\r\n"
    assert len(bodies(events, EntryStarted)) == 1
    assert text_of(events, "-1/fast.ps1") == "done\r\n"


async def test_defect_29_output_is_whole_whatever_repeats_in_it(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Equal blocks of 4 KiB are no end of a file, and neither is a short read."""
    data = bytes(4096) * 3 + b"tail" * 100_000
    programs = {"same.exe": SimulatedProgram(output=(Output(data=data),))}
    entries = [program(-5, "same.exe"), Entry(id="pull", start_time=-1, transfer=Transfer(r"C:\data\same.bin"))]
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        guests.guests["a"].files.make_folders(r"C:\data")
        guests.guests["a"].files.create(r"C:\data\same.bin", data=data)
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    assert bodies(events, EntryFinished)[0].stdout_size == len(data)
    target = tmp_path / "h" / "transfers" / "a" / "C" / "data" / "same.bin"
    assert [each.host_path for each in bodies(events, FileTransferred)] == [str(target)]
    assert target.read_bytes() == data


async def test_files_and_transfers(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Names with blanks and characters of cmd.exe; text with Windows' line ends, resources byte for byte; what exists stays."""
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(range(256)) * 1000)
    await log.put_resource(big)
    names = {
        r"C:\data\ä b & 100%.txt": "Zeile 1\nZeile 2 Ω\n",
        "c:/DATA/forward.txt": "as given\r\n",
        r"\data\rooted.txt": "x",
        r"C:\data\old.txt": "new",
    }
    files = tuple(EntryFile(name, content=content) for name, content in names.items())
    entries = [
        Entry(id="drop", start_time=-5, files=(*files, EntryFile(r"C:\data\deep\big.bin", resource="big.bin"))),
        Entry(id="pull", start_time=-1, transfer=Transfer(r"C:\data")),
    ]
    async with SimulatedHost(sockets, ["a"], windows()) as guests:
        guests.guests["a"].files.make_folders(r"C:\data")
        guests.guests["a"].files.create(r"C:\data\old.txt", data=b"old")
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    copies = contents(bodies(events, FileTransferred))
    assert copies == {
        r"C:\data\ä b & 100%.txt": "Zeile 1\r\nZeile 2 Ω\r\n".encode(),
        r"C:\data\forward.txt": b"as given\r\n",
        r"C:\data\rooted.txt": b"x",
        r"C:\data\old.txt": b"old",
        r"C:\data\deep\big.bin": big.read_bytes(),
    }


async def test_a_file_that_a_program_writes_is_copied_out(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The agent cannot open it; the guest copies it aside first, whatever its name."""
    entry = Entry(id="pull", start_time=-1, transfer=Transfer(r"C:\logs\*.log"))
    async with SimulatedHost(sockets, ["a"], windows()) as guests:
        machine = guests.guests["a"].machine
        machine.files.make_folders(r"C:\logs")
        for name in (r"C:\logs\plain.log", r"C:\logs\two words & ü.log"):
            machine.locks[machine.files.create(name, data=b"so far")] = 1
        await publish(log, guests.sockets, {"a": [entry]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
    assert contents(bodies(events, FileTransferred)) == {
        r"C:\logs\plain.log": b"so far",
        r"C:\logs\two words & ü.log": b"so far",
    }


async def test_a_place_that_windows_has_not_fails_the_load(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A reserved name is told before anything runs."""
    entry = Entry(id="x", start_time=-1, files=(EntryFile(r"C:\data\con.txt", content="x"),))
    async with SimulatedHost(sockets, ["a"], windows()) as guests:
        await publish(log, guests.sockets, {"a": [entry]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, lambda all_: any(s.state == "failed" for s in bodies(all_, VmStateSet)))
    assert "'con.txt'" in bodies(events, EntryFailed)[0].error


async def test_reboot_by_exit_code_and_by_file(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """One reboot for both who asked; only they run again; their files stay."""
    programs = {"file.exe": SimulatedProgram(reboots=1)}
    schedule = [program(-5, "file.exe"), program(-5, "plain.exe"), program(-1, "after.exe")]
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        await publish(log, guests.sockets, {"a": schedule})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(4, EntryFinished))
    assert [each.entries for each in bodies(events, VmRebooted)] == [("-5/file.exe",)]
    started = [(each.entry, each.attempt) for each in bodies(events, EntryStarted)]
    assert started == [("-5/file.exe", 1), ("-5/plain.exe", 1), ("-5/file.exe", 2), ("-1/after.exe", 1)]


async def test_a_second_handler_adopts_what_runs(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Output is recorded while the program holds its file; the next handler goes on at the byte; nothing runs twice."""
    pieces = tuple(Output(f"{number}\r\n", at=number * 0.3) for number in range(8))
    programs = {"slow.exe": SimulatedProgram(duration=2.4, output=pieces)}
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "slow.exe"), program(-1, "after.exe")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(2, OutputCaptured))
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    assert text_of(events, "-5/slow.exe") == "".join(f"{number}\r\n" for number in range(8))
    assert [each.entry for each in bodies(events, EntryStarted)] == ["-5/slow.exe", "-1/after.exe"]


async def test_a_launch_whose_reply_is_lost_is_not_repeated(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """The agent starts the program and dies without a word: the program runs once, and its end is recorded."""
    programs = {"once.exe": SimulatedProgram(duration=0.3, stdout="once\r\n")}
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-9, "before.exe"), program(-5, "once.exe")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, EntryStarted))
            guests.guests["a"].inject(Fault("drop", "guest-exec"), Fault("die", "guest-sync-delimited"))
            events = await until(log, ended(2, EntryFinished))
    assert text_of(events, "-5/once.exe") == "once\r\n"
    assert [each.attempt for each in bodies(events, EntryStarted)] == [1, 1]


async def test_a_program_is_killed_when_its_time_is_over(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """With what it started; the end is that of a killed program, as elsewhere."""
    programs = {"endless.exe": SimulatedProgram(duration=float("inf"), stdout="begun\r\n")}
    async with SimulatedHost(sockets, ["a"], windows(**programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "endless.exe", timeout=1.0)]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
    (killed,) = bodies(events, EntryFinished)
    assert (killed.exit_code, killed.timed_out, killed.stdout_size) == (137, True, 7)


async def test_names_that_differ_in_case_only_do_not_share_a_folder(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """Two programs of one time, ``Setup.exe`` and ``setup.exe``: each has its call script and its claim."""
    async with SimulatedHost(sockets, ["a"], windows()) as guests:
        await publish(log, guests.sockets, {"a": [program(-5, "Setup.exe", "/a"), program(-5, "setup.exe", "/b")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    folders = [each.directory.lower() for each in bodies(events, EntryStarted)]
    assert len(set(folders)) == 2
