"""Defects 27 to 30 and the agent's side of 23 and 25: through the stock guest agent where it can show them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.agent.backends import StockAgent
from tests.handler.harness import bodies, ended, handling, program, publish, until
from tests.interface.agents import connected_driver, stock_agent
from tests.interface.test_abstract_driver import WINDOWS
from tests.interface.test_guest_files import Writing
from vmr import spool
from vmr.agent import GuestAgent
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver
from vmr.errors import AgentError, AgentTimeoutError
from vmr.events import EntryFinished, EntryStarted, FileTransferred, VmStateSet
from vmr.guest_files import load_files
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile, Transfer
from vmr.schedule_entry import ScheduleEntry
from vmr.testing import SimulatedHost


@pytest.fixture(name="agent")
def _agent() -> Iterator[StockAgent]:
    with stock_agent() as agent:
        yield agent


@pytest.fixture(name="driver")
def _driver(agent: StockAgent) -> Iterator[QemuGuestAgentDriver]:
    with connected_driver(agent) as driver:
        yield driver


def test_defect_25_text_that_is_not_ascii_is_written_whole(driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
    """Bytes are counted, not characters."""
    path = f"{agent.files}/größe"
    assert driver.write(path, "Größe ☃ 雪\n") is True
    assert Path(path).read_text() == "Größe ☃ 雪\n"


async def test_defect_23_a_launch_that_is_sent_again_executes_nothing_again(agent: StockAgent) -> None:
    """The call script, in a real shell: sent three times, of which two at once, the attempt ran once; the next attempt runs."""
    folder = f"{agent.files}/-5/x"
    script = spool.call_script(Entry(id="x", start_time=-5, executable="echo", arguments="ran >> ran"))
    async with GuestAgent(agent.socket) as client:
        for command in (
            spool.mkdir(folder),
            spool.install([spool.Install(f"{folder}/{spool.CALL_SCRIPT_NAME}", text=script)]),
        ):
            assert (await client.run(command.path, command.arguments)).exit_code == 0
        again = spool.launch(folder, 1)
        await asyncio.gather(*(client.run(again.path, again.arguments) for _ in range(2)))
        assert (await client.run(again.path, again.arguments)).stdout.startswith(b"vmr again")
        assert (await client.run("/bin/cat", [f"{folder}/ran"])).stdout == b"ran\n"
        following = spool.launch(folder, 2)
        await client.run(following.path, following.arguments)
        assert (await client.run("/bin/cat", [f"{folder}/ran"])).stdout == b"ran\n" * 2


async def test_defect_27_an_error_of_the_agent_is_handled_as_one(agent: StockAgent) -> None:
    """The reply without a result is the agent's error in its own words, and the connection is in step after it."""
    async with GuestAgent(agent.socket) as client:
        with pytest.raises(AgentError, match="No such file"):
            await client.file_open("/nowhere/at/all")
        with pytest.raises(AgentError):
            await client.exec("/no/such/program")
        with pytest.raises(AgentError, match="pid"):
            await client.exec_status(999_999)
        await client.ping()


def test_defect_27_an_error_of_the_agent_is_no_key_error(driver: QemuGuestAgentDriver, tmp_path: Path) -> None:
    """The driver's documented answers: None, False or `OSError`."""
    assert driver.execute("/no/such/program") is None
    assert driver.read_file("/nowhere", PurePosixPath(tmp_path / "copy")) is False
    with pytest.raises(OSError, match="pid"):
        driver.exec_status(999_999)
    assert driver.ping() is True


async def test_defect_28_a_hung_agent_ends_every_wait(agent: StockAgent) -> None:
    """Opening, reading, the time, a program: each wait is bounded, and what comes late is nobody else's answer."""
    async with GuestAgent(agent.socket) as client:
        handle = await client.file_open("/etc/passwd")
        agent.stop()
        begun = time.monotonic()
        commands: dict[str, dict[str, Any]] = {
            "guest-file-read": {"handle": handle, "count": 10},
            "guest-file-open": {"path": "/etc/hostname"},
            "guest-get-time": {},
        }
        for command, arguments in commands.items():
            with pytest.raises(AgentTimeoutError):
                await client.call(command, arguments, timeout=0.1)
        assert time.monotonic() - begun < 2
        agent.resume()
        assert (await client.get_time()) > 1e18


async def test_defect_28_one_hung_agent_delays_no_other_vm(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """While one VM's agent hangs, another's entries are done; when it goes on, its own are, once."""
    async with SimulatedHost(sockets, ["a", "b"]) as guests:
        guests.guests["a"].stop()
        await publish(log, guests.sockets, {name: [program(-n, "x") for n in range(9, 0, -1)] for name in ("a", "b")})
        async with handling(log, tmp_path / "h"):
            async with asyncio.timeout(3):
                events = await until(log, ended(9, EntryFinished))
            assert {each.server_uuid for each in bodies(events, EntryFinished)} == {"uuid-b"}
            guests.resume("a")
            events = await until(log, ended(18, EntryFinished))
    assert len(bodies(events, EntryStarted)) == 18


@pytest.mark.parametrize("size", [0, 1, 4096, 8192, 8592, 3_000_000])
def test_defect_29_the_end_of_a_file_is_where_it_ends(
    driver: QemuGuestAgentDriver, agent: StockAgent, tmp_path: Path, size: int
) -> None:
    """Equal chunks, of any number, are no sign of an end: out and in again, byte for byte."""
    Path(f"{agent.files}/zeros").write_bytes(b"\0" * size)
    copy = PurePosixPath(tmp_path / "copy")
    assert driver.read_file(f"{agent.files}/zeros", copy) is True
    assert Path(copy).read_bytes() == b"\0" * size
    assert driver.write_from_file(f"{agent.files}/back", str(copy)) is True
    assert Path(f"{agent.files}/back").read_bytes() == b"\0" * size


async def test_defect_29_a_file_of_equal_chunks_comes_out_whole(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Through a handler: put in, copied out, of the size and hash that the event says."""
    big = tmp_path / "zeros"
    big.write_bytes(b"\0" * 2_500_000)
    await log.put_resource(big)
    sha256 = hashlib.sha256(big.read_bytes()).hexdigest()
    entries = [
        Entry(id="in", start_time=-2, files=(EntryFile("/tmp/zeros", resource="zeros"),)),
        Entry(id="out", start_time=-1, transfer=Transfer("/tmp/zeros")),
    ]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    (copy,) = bodies(events, FileTransferred)
    assert (copy.size, copy.sha256) == (2_500_000, sha256)
    assert (tmp_path / "h" / "transfers" / "a" / "tmp" / "zeros").read_bytes() == big.read_bytes()


async def test_defect_30_line_ends_are_what_they_were(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Content with Windows line ends, and with others, reaches the guest unchanged."""
    texts = {"crlf": "one\r\ntwo\r\n", "lf": "one\ntwo\n", "mixed": "one\r\ntwo\nthree\r"}
    files = tuple(EntryFile(f"/tmp/{name}", content=text) for name, text in texts.items())
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [Entry(id="drop", start_time=-1, files=files)]})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(1, EntryFinished))
        for name, text in texts.items():
            assert guests.guests["a"].files.read(f"/tmp/{name}") == text.encode()


def test_defect_30_text_gets_the_line_ends_of_a_windows_guest() -> None:
    """Through the documented interface: content is written with Windows line ends there, each once, and files as they are."""
    entry = ScheduleEntry(-5)
    entry.add_content("C:\\data\\text", "one\ntwo\r\n")
    entry.add_file("C:\\data\\stored", "stored")
    driver = Writing(WINDOWS)
    assert load_files(driver, entry, lambda _: b"a\nb\r\n") == []
    assert driver.files["C:\\data\\text"] == "one\r\ntwo\r\n"
    assert driver.files["C:\\data\\stored"] == b"a\nb\r\n"


async def test_defect_30_executable_false_is_not_executable(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Only what is said to be executable is: by value, not by the key's being there; small files and large ones."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(100_000))
    await log.put_resource(big)
    files = [
        EntryFile(f"/tmp/{kind}-{flag}", executable=flag, **source)  # type: ignore[arg-type]
        for flag in (False, True)
        for kind, source in (("content", {"content": "x"}), ("resource", {"resource": "big"}))
    ]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": [Entry(id="drop", start_time=-1, files=tuple(files))]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(1, EntryFinished))
        found = {file.location: guests.guests["a"].files.file(file.location).executable for file in files}
    assert not [each for each in bodies(events, VmStateSet) if each.state == "failed"]
    assert found == {file.location: file.executable for file in files}


def test_defect_30_executable_false_is_kept_by_the_documented_entry() -> None:
    """A file that is said not to be executable stays so through `ScheduleEntry`, however it is said."""
    made = ScheduleEntry(-1)
    made.add_content("/tmp/a", "x", executable=False)
    made.add_content("/tmp/b", "x", executable=True)
    made.data.append({"location": "/tmp/c", "content": "x", "executable": False})
    (entry,) = made.to_entries()
    assert [file.executable for file in entry.files] == [False, True, False]
