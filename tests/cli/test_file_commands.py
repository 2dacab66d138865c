"""``vmr push file`` and ``vmr pull file``, to and from simulated guests that a handler drives."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.operating import Terminal
from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.events import (
    AgentAddress,
    EntryFinished,
    ExperimentCleared,
    ExperimentEnded,
    ExperimentStarted,
    FileTransferred,
    KnownBody,
    ResourceUploaded,
    SchedulePublished,
    ScheduleRemoved,
    VmStateSet,
)
from vmr.late_files import copies_of
from vmr.log import AsyncLog
from vmr.testing import SimulatedHost

AGENT = AgentAddress("host", "/s")
CONTENT = bytes(range(256)) * 300


@pytest.fixture
async def guests(log: AsyncLog, tmp_path: Path) -> AsyncIterator[SimulatedHost]:
    """Yield the guest of one VM, ``server``, which is configured and runs on for an hour."""
    sockets = tmp_path / "s"
    sockets.mkdir()
    async with SimulatedHost(sockets, ["server"]) as host:
        await publish(log, host.sockets, {"server": [program(-1, "x"), program(3600, "late")]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, ExperimentStarted))
            yield host


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of any bytes."""
    path = tmp_path / "tool.bin"
    path.write_bytes(CONTENT)
    return path


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "again"
    path.write_bytes(content)
    return path


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.glob("[al]*/**/*.log")}


async def everything(log: AsyncLog) -> list[object]:
    """Return what is recorded."""
    return [each.event.body async for batch in log.read() for each in batch]


async def test_push_puts_the_file_into_the_vm(
    log: AsyncLog, terminal: Terminal, guests: SimulatedHost, file: Path
) -> None:
    """FIREWHEEL's words, then the word that it is there, which is when it is; the schedule keeps what it had."""
    done = await terminal.type("push", "file", str(file), "server", "/opt/tool", "--overwrite")
    assert done.err == ""
    assert done.out.splitlines() == [
        "Adding 'tool.bin' as a VM Resource.",
        "Successfully added a new schedule entry.",
        "'tool.bin' is in server at /opt/tool.",
    ]
    assert guests.guests["server"].files.read("/opt/tool") == CONTENT
    recorded = await everything(log)
    assert [each.name for each in recorded if isinstance(each, ResourceUploaded)] == ["tool.bin"]
    schedule = [each for each in recorded if isinstance(each, SchedulePublished)][-1]
    assert [each.start_time for each in schedule.entries] == [-1, 3600, -100_000]


async def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    terminal: Terminal, guests: SimulatedHost, tmp_path: Path
) -> None:
    """Overwriting is asked for; it replaces also what an earlier push put there."""
    files = guests.guests["server"].files
    for content, option, expected in ((b"1", [], b"1"), (b"2", [], b"1"), (b"3", ["--overwrite"], b"3")):
        file = await asyncio.to_thread(_file, tmp_path, content)
        done = await terminal.type("push", "file", str(file), "server", "/opt/tool", *option)
        assert done.code == 0
        assert ("--overwrite replaces it" in done.out) == (not option)
        assert files.read("/opt/tool") == expected


async def test_a_resource_of_the_experiment_is_not_replaced(
    log: AsyncLog, terminal: Terminal, guests: SimulatedHost, file: Path, tmp_path: Path
) -> None:
    """Other VMs' entries may need it; the pushed file goes to its VM all the same."""
    (tmp_path / "other").write_bytes(b"the experiment's own")
    await log.put_resource(tmp_path / "other", name=file.name)
    done = await terminal.type("push", "file", str(file), "server", "/opt/tool")
    assert "it stays as it is" in done.out
    assert guests.guests["server"].files.read("/opt/tool") == CONTENT
    assert len([each for each in await everything(log) if isinstance(each, ResourceUploaded)]) == 1


async def test_push_need_not_wait(log: AsyncLog, terminal: Terminal, guests: SimulatedHost, file: Path) -> None:
    """It returns when the entry is recorded, and the handler does the rest."""
    done = await terminal.type("push", "file", str(file), "server", "/opt/tool", "--no-wait", "--executable")
    assert done.out.splitlines()[-1] == "Successfully added a new schedule entry."
    await until(log, lambda events: any("push" in each.entry for each in bodies(events, EntryFinished)))
    assert guests.guests["server"].files.file("/opt/tool").executable


async def test_a_vm_that_is_held_takes_files_all_the_same(
    terminal: Terminal, guests: SimulatedHost, file: Path, tmp_path: Path
) -> None:
    """An operator's late entries act in spite of a pause."""
    assert (await terminal.type("vm", "pause", "--all")).code == 0
    assert (await terminal.type("push", "file", str(file), "server", "/opt/tool")).code == 0
    assert guests.guests["server"].files.read("/opt/tool") == CONTENT
    assert (await terminal.type("pull", "file", "/opt/tool", "server", str(tmp_path / "back"))).code == 0


async def test_pull_brings_the_file(log: AsyncLog, terminal: Terminal, guests: SimulatedHost, tmp_path: Path) -> None:
    """The very bytes, with size and hash; into a folder it goes under its own name."""
    guests.guests["server"].files.make_folders("/var/data")
    guests.guests["server"].files.create("/var/data/result", data=CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    done = await terminal.type("pull", "file", "/var/data/result", "server", str(tmp_path / "mine"))
    assert done.err == "Checking if the file is ready...\n"
    assert done.out == f"/var/data/result -> {tmp_path}/mine: {len(CONTENT)} bytes, sha256 {digest}\n"
    assert (tmp_path / "mine").read_bytes() == CONTENT
    done = await terminal.type("pull", "file", "/var/data/result", "server", str(tmp_path))
    assert done.code == 0
    assert (tmp_path / "result").read_bytes() == CONTENT
    copies = [each for each in await everything(log) if isinstance(each, FileTransferred)]
    assert len({each.entry for each in copies}) == len(copies) == 2


async def test_pull_of_several_files_keeps_their_folders(
    terminal: Terminal, guests: SimulatedHost, tmp_path: Path
) -> None:
    """A folder or wildcards bring everything that is there, as seen from where the pattern lies."""
    files = guests.guests["server"].files
    files.make_folders("/var/data/deep")
    for name in ("a.log", "b.log", "deep/c.log"):
        files.create(f"/var/data/{name}", data=name.encode())
    assert (await terminal.type("pull", "file", "/var/data", "server", str(tmp_path / "all"))).code == 0
    assert (await terminal.type("pull", "file", "/var/data/*.log", "server", str(tmp_path / "logs"))).code == 0
    assert await asyncio.to_thread(_names, tmp_path) == {
        "all/data/a.log",
        "all/data/b.log",
        "all/data/deep/c.log",
        "logs/a.log",
        "logs/b.log",
    }


async def test_a_file_that_is_not_there_is_said_at_once_and_the_vm_lives(
    log: AsyncLog, terminal: Terminal, guests: SimulatedHost, tmp_path: Path
) -> None:
    """Nobody waits for it, and an operator's mistake fails no VM."""
    done = await terminal.type("pull", "file", "/no/such", "server", str(tmp_path / "x"))
    assert (done.code, done.out) == (1, "")
    assert "VM 'server': there is no file at /no/such in the guest" in done.err
    assert not (tmp_path / "x").exists()
    assert all(each.state != "failed" for each in await everything(log) if isinstance(each, VmStateSet))
    assert guests.sockets


@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["push", "file", "FILE", "servr", "/x"], "no VM has the name or uuid 'servr'; did you mean 'server'?"),
        (["push", "file", "FILE", "server", "x"], "'x' is no full path"),
        (["push", "file", "FILE", "server", "/opt/"], "/opt/tool.bin"),
        (["push", "file", "/no/such/file", "server", "/x"], "/no/such/file"),
        (["pull", "file", "x", "server", "y"], "'x' is no full path"),
        (["pull", "file", "/x", "sever", "y"], "did you mean 'server'?"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_recorded(
    log: AsyncLog, terminal: Terminal, file: Path, words: list[str], expected: str
) -> None:
    """A mistake ends with exit code 2 and the mend."""
    before = await log.last_sequence()
    done = await terminal.type(*(str(file) if word == "FILE" else word for word in words))
    assert done.code == 2
    assert expected in done.err
    assert await log.last_sequence() == before


@pytest.mark.parametrize(
    ("state", "agent", "expected"),
    [
        ("failed", AGENT, "it has failed"),
        ("n/a", AGENT, "vmr leaves it alone"),
        ("configured", None, "without the address of its guest agent"),
    ],
)
async def test_a_vm_in_which_nothing_runs_is_refused(
    log: AsyncLog, terminal: Terminal, state: str, agent: AgentAddress | None, expected: str
) -> None:
    """Nobody waits for what cannot come."""
    await log.add_vm("u", "server", state=state, agent=agent)
    done = await terminal.type("pull", "file", "/x", "server", "y")
    assert (done.code, expected in done.err) == (2, True)


async def test_without_a_handler_it_is_said_and_bounded(log: AsyncLog, terminal: Terminal) -> None:
    """The entry stays for whichever handler comes."""
    await log.add_vm("u", "server", agent=AGENT)
    done = await terminal.type("pull", "file", "/x", "server", "y", "--timeout", "0.2")
    assert done.code == 1
    assert "no handler has 'server' at present" in done.err
    assert "not done after 0.2 s; it stays in the schedule" in done.err


@pytest.mark.parametrize(
    ("happening", "expected"),
    [
        (SchedulePublished(server_name="server"), "another schedule was published meanwhile, without it"),
        (ScheduleRemoved(server_name="server"), "another schedule was published meanwhile, without it"),
        (VmStateSet(server_uuid="u", state="failed", reason="broken"), "it failed meanwhile (broken)"),
        (ExperimentEnded(), "it was not done before experiment.ended"),
        (ExperimentCleared(), "it was not done before experiment.cleared"),
    ],
)
async def test_waiting_ends_when_it_will_not_be_done(
    log: AsyncLog, terminal: Terminal, happening: KnownBody, expected: str
) -> None:
    """A schedule without the entry, a failed VM, the end of the run: each is said, none is waited out."""
    await log.add_vm("u", "server", agent=AGENT)
    await log.put_schedule("server", [])
    waiting = asyncio.create_task(terminal.type("pull", "file", "/x", "server", "y"))
    await until(log, ended(2, SchedulePublished))
    await log.publish(SchedulePublished(server_name="server", store="not these"))
    await log.publish(happening)
    done = await waiting
    assert done.code == 1
    assert f"VM 'server': {expected}" in done.err


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/var/data/../../../etc/passwd", "..", "/", "C:\\x\\..", "/a/.."]
)
def test_a_guest_that_lies_about_its_paths_writes_nowhere_else(tmp_path: Path, path: str) -> None:
    """Whatever it calls its files, a copy stays in the folder that was given."""
    file = FileTransferred(server_uuid="u", entry="e", guest_path=path, host_path="/h", size=1, sha256="0" * 64)
    for location in ("/var/data", "/var/data/*", "/*"):
        (copy, _) = copies_of(location, [file, file], tmp_path)
        target = copy.target.resolve()
        assert target != tmp_path
        assert target.is_relative_to(tmp_path)
