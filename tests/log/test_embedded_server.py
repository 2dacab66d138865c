"""The embedded server: private, adopted when it outlived its starter, replaced when it is dead, found again at its port."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from vmr.errors import InvalidInputError, LogUnavailableError
from vmr.log import AsyncLog, read_identity
from vmr.server import EmbeddedServer
from vmr.settings import Settings


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """Yield a server that only this test uses; it is stopped at the end, if it was started."""
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    yield server
    await server.stop()


async def test_it_is_ready_within_a_second_and_listens_on_loopback_only(own: EmbeddedServer) -> None:
    """`start` returns when JetStream answers; every listening socket is on 127.0.0.1."""
    began = time.monotonic()
    await own.start()
    assert time.monotonic() - began < 1.0
    assert own.is_running()
    assert own.pid is not None
    listening = [c for c in psutil.Process(own.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


async def test_only_the_owner_reads_its_secrets(own: EmbeddedServer) -> None:
    """Folder, credential and configuration have no bit for anybody else, and the password is nowhere else."""
    await own.start()
    assert stat.S_IMODE(own.folder.stat().st_mode) == 0o700
    for name in ("server.json", "nats-server.conf"):
        assert stat.S_IMODE((own.folder / name).stat().st_mode) == 0o600
    identity = read_identity(own.folder)
    assert len(identity.password) >= 32
    assert identity.password not in own.log_file.read_text()
    assert identity.password not in " ".join(psutil.Process(own.pid).cmdline())
    assert identity.password not in own.url


async def test_a_running_server_is_adopted(own: EmbeddedServer) -> None:
    """A second start, by another object, changes nothing."""
    await own.start()
    other = EmbeddedServer(own.folder)
    await other.start()
    assert other.pid == own.pid


async def test_concurrent_starts_make_one_server(own: EmbeddedServer) -> None:
    """Five starters at once: one of them starts it, the others adopt it."""
    await asyncio.gather(*(EmbeddedServer(own.folder).start() for _ in range(5)))
    ours = [p for p in psutil.process_iter() if str(own.folder) in " ".join(_command(p))]
    assert len(ours) == 1


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_a_server_without_a_pid_file_is_found(own: EmbeddedServer) -> None:
    """An orphan is recognised by its configuration file, whatever became of its pid file."""
    await own.start()
    pid = own.pid
    (own.folder / "nats-server.pid").unlink()
    assert EmbeddedServer(own.folder).pid == pid


async def test_a_stale_pid_file_of_another_process_is_not_believed(own: EmbeddedServer) -> None:
    """The pid in the file may belong to anybody by now; that process is neither adopted nor stopped."""
    own.folder.mkdir(parents=True)
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    (own.folder / "nats-server.pid").write_text(str(stranger.pid))
    assert not own.is_running()
    await own.start()
    assert own.pid != stranger.pid
    await own.stop()
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_a_killed_server_comes_back_at_the_same_port_with_its_events(own: EmbeddedServer) -> None:
    """Port, credential and store outlive the process."""
    settings = Settings(home=own.folder.parent)
    await own.start()
    url = own.url
    async with await AsyncLog.connect(settings) as log:
        assert await log.pause() == 1
    assert own.pid is not None
    os.kill(own.pid, signal.SIGKILL)
    await own.start()
    assert own.url == url
    async with await AsyncLog.connect(settings) as log:
        assert await log.last_sequence() == 1


async def test_a_server_that_hangs_is_replaced(own: EmbeddedServer) -> None:
    """A stopped process holds the port and answers nobody."""
    await own.start()
    hung = own.pid
    assert hung is not None
    os.kill(hung, signal.SIGSTOP)
    own._stop_seconds = 0.2
    await own.start()
    assert own.pid not in {hung, None}


async def test_a_port_taken_by_another_program_is_given_up(own: EmbeddedServer) -> None:
    """The server starts all the same, at another port."""
    await own.start()
    await own.stop()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", read_identity(own.folder).port))
        squatter.listen()
        taken = own.url
        own._port_seconds = 0.1
        await own.start()
        assert own.url != taken


async def test_stopping_twice_is_fine(own: EmbeddedServer) -> None:
    """A stopped server has no process, and stopping it again does nothing."""
    await own.start()
    await own.stop()
    assert not own.is_running()
    await own.stop()


STARTER = """
import asyncio, sys, time
from pathlib import Path
from vmr.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
asyncio.run(server.start(die_with_parent=sys.argv[2] == "yes"))
print(server.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("dies", ["yes", "no"])
async def test_it_dies_with_its_parent_when_asked(own: EmbeddedServer, dies: str) -> None:
    """After `kill -9` of the starter the server ends, or lives on and is adopted."""
    command = [sys.executable, "-c", STARTER, str(own.folder), dies]
    starter = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert starter.stderr is not None
    pid = int(await asyncio.wait_for(starter.stderr.readline(), 20))
    starter.kill()
    await starter.wait()
    if dies == "no":
        await own.start()
        assert own.pid == pid
    else:
        await asyncio.to_thread(psutil.wait_procs, _processes(pid), timeout=5)
        assert not own.is_running()


def _processes(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


async def test_a_server_that_cannot_start_says_why(own: EmbeddedServer) -> None:
    """The end of the server's own log is in the error."""
    own.folder.mkdir(parents=True)
    (own.folder / "jetstream").write_text("a file where the store has to be a folder")
    with pytest.raises(LogUnavailableError, match=r"nats-server ended at once: .*storage directory is not a directory"):
        await own.start()


async def test_a_folder_that_cannot_stand_in_a_configuration_is_refused(tmp_path: Path) -> None:
    """A quote in the path would end the string in the server's configuration."""
    with pytest.raises(InvalidInputError, match="use another"):
        await EmbeddedServer(tmp_path / 'with"quote').start()
