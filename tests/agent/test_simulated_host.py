"""Many simulated guests in one process: as a library under a mock clock, and as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.agent_contract import shell
from vmr.agent import GuestAgent
from vmr.errors import AgentTimeoutError, GuestSetupError
from vmr.testing import Behaviour, MockClock, SimulatedHost, SimulatedProgram, socket_path


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    yield folder
    shutil.rmtree(folder)


def content(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return [path.name for path in folder.iterdir()]


async def test_hundreds_of_guests_answer_at_once(folder: Path) -> None:
    """Each name, whatever its characters, has a socket of its own, and each answers for itself."""
    names = [f"vm {number}/ä" for number in range(300)]
    async with SimulatedHost(folder, names) as host:
        agents = [GuestAgent(host.sockets[name], name) for name in names]
        await asyncio.gather(*(agent.connect(20) for agent in agents))
        answers = await asyncio.gather(*(agent.call("guest-get-host-name") for agent in agents))
        assert [answer["host-name"] for answer in answers] == names
        assert all(guest.commands == 2 for guest in host.guests.values())  # one synchronization, one question
        await asyncio.gather(*(agent.close() for agent in agents))
    assert content(folder) == []


async def test_programs_follow_the_clock(folder: Path) -> None:
    """Under a mock clock a program ends when the test says so, however long that takes."""
    clock = MockClock()
    behaviour = Behaviour({"job": SimulatedProgram(duration=3600, exit_code=4)})
    async with SimulatedHost(folder, ["vm1"], behaviour, clock) as host, GuestAgent(host.sockets["vm1"]) as agent:
        pid = await agent.exec(*shell("job"))
        await clock.advance(3599.9)
        assert not (await agent.exec_status(pid)).exited
        assert abs(await agent.get_time() / 1e9 - clock.now().timestamp()) < 1e-3
        await clock.advance(0.1)
        assert (await agent.exec_status(pid)).exit_code == 4


async def test_a_reboot_takes_its_time(folder: Path) -> None:
    """The agent is away for as long as a boot takes."""
    clock = MockClock()
    async with SimulatedHost(folder, ["vm1"], Behaviour(boot_seconds=30), clock) as host:
        agent = GuestAgent(host.sockets["vm1"])
        await agent.connect()
        await agent.shutdown("reboot")
        await clock.advance(29)
        assert not host.sockets["vm1"].exists()
        await clock.advance(1)
        await agent.wait_until_answers(5)
        await agent.close()


async def test_waiting_for_an_agent_is_bounded_by_the_clock(folder: Path) -> None:
    """The bound counts the time of the clock that is given."""
    clock = MockClock(autojump=0.02)
    async with SimulatedHost(folder, ["vm1"], clock=clock) as host:
        host.guests["vm1"].stop()
        waiting = asyncio.create_task(GuestAgent(host.sockets["vm1"]).wait_until_answers(3600, clock))
        await asyncio.sleep(0.01)
        await clock.advance(3600)
        with pytest.raises(AgentTimeoutError):
            await asyncio.wait_for(waiting, 10)


def test_too_many_open_files_are_told_before_they_are_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the numbers and the mend."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))

    async def start() -> None:
        async with SimulatedHost(folder, [str(number) for number in range(1000)]):
            pass

    with pytest.raises(GuestSetupError, match=r"1000 .* need 3200 open files.* 1024 at most: raise the hard limit"):
        asyncio.run(start())


def test_the_limit_of_open_files_is_raised_as_far_as_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit goes up, the hard one stays."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))

    async def start() -> None:
        async with SimulatedHost(folder, ["vm1"]):
            pass

    asyncio.run(start())
    assert asked == [(203, 1024)]


def test_a_folder_that_is_too_deep_is_told() -> None:
    """A Unix socket's path is short."""
    with pytest.raises(GuestSetupError, match="use a shorter folder"):
        socket_path(Path("/" + "x" * 100), "vm1")


class TestProcess:
    """``python -m vmr.testing``."""

    @staticmethod
    def start(folder: Path, *files: object) -> subprocess.Popen[str]:
        """Start it."""
        command = [sys.executable, "-m", "vmr.testing", str(folder), *map(str, files)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    async def test_it_serves_until_it_is_told_to_end(self, folder: Path) -> None:
        """The pid file means that every guest answers; SIGTERM removes everything."""
        (folder / "names").write_text(json.dumps(["vm1", "vm2"]))
        (folder / "behaviour").write_text("programs: {job: {exit_code: 9}}")
        process = self.start(folder / "sockets", folder / "names", folder / "behaviour")
        pid_file = folder / "sockets" / "host.pid"
        deadline = time.monotonic() + 20
        while not pid_file.exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert int(pid_file.read_text()) == process.pid
        for name in ("vm1", "vm2"):
            async with GuestAgent(socket_path(folder / "sockets", name)) as agent:
                assert (await agent.run(*shell("job"))).exit_code == 9
        os.kill(process.pid, signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, timeout=10)
        assert (process.returncode, errors) == (0, "")
        assert content(folder / "sockets") == []

    @pytest.mark.parametrize(
        ("names", "files", "code", "problem"),
        [
            ("{", ["names"], 1, "JSON array of strings"),
            ("[]", ["names", "none"], 1, "cannot be read"),
            (None, ["names"], 1, "No such file"),
            ("[]", [], 2, "usage"),
        ],
    )
    def test_a_wrong_command_line(
        self, folder: Path, names: str | None, files: list[str], code: int, problem: str
    ) -> None:
        """It ends with a message and no traceback."""
        if names is not None:
            (folder / "names").write_text(names)
        process = self.start(folder / "sockets", *(folder / file for file in files))
        _, errors = process.communicate(timeout=20)
        assert process.returncode == code
        assert problem in errors
        assert "Traceback" not in errors
