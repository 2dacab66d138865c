"""What every guest agent does, seen through `GuestAgent`: one suite for the stock agent and for the simulated one."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.agent.backends import Backend
from vmr.agent import GuestAgent
from vmr.agent_messages import MAX_CAPTURE, ExecStatus
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, InvalidInputError

EVERY_BYTE = bytes(range(256))


def shell(text: str) -> tuple[str, list[str]]:
    """Return path and arguments that run ``text`` in a shell."""
    return "/bin/sh", ["-c", text]


def send_and_leave(path: Path, data: bytes) -> None:
    """Be a client that sends ``data`` and leaves without reading."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(data)


def ask(path: Path, data: bytes, lines: int) -> list[bytes]:
    """Send ``data`` as a client without any protocol, and return the first ``lines`` lines that come."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(data)
        received = b""
        while received.count(b"\n") < lines:
            received += client.recv(65536)
        return received.split(b"\n")[:lines]


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Return when ``check`` has become true; fail after ``within`` seconds."""
    async with asyncio.timeout(within):
        reached = await check()
        while not reached:
            await asyncio.sleep(0.005)
            reached = await check()


async def wait_for_exit(agent: GuestAgent, pid: int) -> ExecStatus:
    """Return the status of a process that ends within 5 s."""
    async with asyncio.timeout(5):
        status = await agent.exec_status(pid)
        while not status.exited:
            await asyncio.sleep(0.002)
            status = await agent.exec_status(pid)
    return status


class AgentContract:
    """The suite; a subclass gives the fixtures ``backend`` and ``agent`` (connected)."""

    async def test_it_introduces_itself(self, agent: GuestAgent) -> None:
        """Version, commands and operating system are told."""
        await agent.ping()
        info = await agent.info()
        assert info.version[0].isdigit()
        assert info.supports("guest-exec")
        assert not info.supports("guest-make-coffee")
        shutdown = next(command for command in info.supported_commands if command.name == "guest-shutdown")
        assert not shutdown.success_response
        assert (await agent.osinfo()).machine
        assert not (await agent.osinfo()).windows

    async def test_it_knows_the_time_and_the_network(self, agent: GuestAgent) -> None:
        """The clock is in nanoseconds since 1970; the loopback interface is there."""
        assert abs(await agent.get_time() / 1e9 - time.time()) < 5
        loopback = next(face for face in await agent.network_get_interfaces() if face.name == "lo")
        assert ("127.0.0.1", 8) in [(address.address, address.prefix) for address in loopback.ip_addresses]

    async def test_any_command_can_be_called(self, agent: GuestAgent) -> None:
        """`call` reaches commands that have no method, and brings the agent's own errors."""
        assert set(await agent.call("guest-get-host-name")) == {"host-name"}
        with pytest.raises(AgentError, match="guest-nope") as unknown:
            await agent.call("guest-nope")
        assert unknown.value.error_class == "CommandNotFound"
        with pytest.raises(AgentError, match="'foo' is unexpected"):
            await agent.call("guest-ping", {"foo": 1})
        with pytest.raises(AgentError, match="'path' is missing"):
            await agent.call("guest-exec")
        with pytest.raises(AgentError, match="expected: string"):
            await agent.call("guest-exec", {"path": 5})

    # --- programs -----------------------------------------------------------------------------------------------------

    async def test_a_program_brings_output_and_exit_code(self, agent: GuestAgent) -> None:
        """Both streams and the code come back, as bytes and number."""
        status = await agent.run(*shell("echo héllo; echo e >&2; exit 3"))
        assert (status.exit_code, status.signal) == (3, None)
        assert (status.stdout, status.stderr) == ("héllo\n".encode(), b"e\n")
        assert not status.stdout_truncated
        assert not status.stderr_truncated

    async def test_standard_input_is_bytes(self, agent: GuestAgent) -> None:
        """What goes in comes out of ``cat``, every byte."""
        assert (await agent.run("cat", input=EVERY_BYTE * 300)).stdout == EVERY_BYTE * 300

    async def test_a_program_without_capture_brings_no_output(self, agent: GuestAgent) -> None:
        """Output that nobody asked for is not kept."""
        pid = await agent.exec(*shell("echo hi; exit 4"), capture=False)
        status = await wait_for_exit(agent, pid)
        assert (status.exit_code, status.stdout) == (4, b"")

    async def test_a_signal_is_no_exit_code(self, agent: GuestAgent) -> None:
        """A killed program has a signal and no exit code."""
        status = await agent.run(*shell("kill -9 $$"))
        assert (status.exit_code, status.signal) == (None, 9)

    async def test_the_end_is_told_once(self, agent: GuestAgent) -> None:
        """After its end was told, a process is unknown."""
        pid = await agent.exec("/bin/true")
        await wait_for_exit(agent, pid)
        with pytest.raises(AgentError):
            await agent.exec_status(pid)

    async def test_a_program_that_is_not_there(self, agent: GuestAgent) -> None:
        """It is refused at once, by name."""
        with pytest.raises(AgentError, match="/no/such"):
            await agent.exec("/no/such")

    async def test_a_long_program_is_left_running(self, agent: GuestAgent) -> None:
        """`run` gives up at its time-out and names the process."""
        with pytest.raises(AgentTimeoutError, match=r"/bin/sh \(pid \d+\) still runs"):
            await agent.run(*shell("sleep 1"), timeout=0.02)
        await agent.ping()

    async def test_output_over_the_agents_limit_is_marked(self, agent: GuestAgent) -> None:
        """Of 17 MiB the first 16 come, marked as truncated; exactly the same with less is not."""
        long = await agent.run("head", ["-c", str(17 << 20), "/dev/zero"])
        assert len(long.stdout) == MAX_CAPTURE
        assert long.stdout_truncated
        assert not long.stderr_truncated
        short = await agent.run("head", ["-c", "100000", "/dev/zero"])
        assert len(short.stdout) == 100_000
        assert not short.stdout_truncated

    async def test_many_tasks_share_one_agent(self, agent: GuestAgent) -> None:
        """Each of 30 concurrent callers gets its own answer."""
        runs = [agent.run(*shell(f"echo {number}")) for number in range(30)]
        assert [int(status.stdout) for status in await asyncio.gather(*runs)] == list(range(30))

    # --- files --------------------------------------------------------------------------------------------------------

    async def test_a_file_comes_back_as_it_went(self, agent: GuestAgent, backend: Backend, tmp_path: Path) -> None:
        """Bytes of several chunks survive, from memory and from a file; a second write replaces the first."""
        path, data = f"{backend.files}/ä b", os.urandom(3_000_000) + EVERY_BYTE
        assert await agent.write_file(path, data) == len(data)
        assert await agent.read_file(path) == data
        (tmp_path / "source").write_bytes(data[::-1])
        assert await agent.write_file(path, tmp_path / "source") == len(data)
        assert await agent.read_file(path) == data[::-1]
        await agent.write_file(path, b"")
        assert await agent.read_file(path) == b""

    async def test_a_part_of_a_file(self, agent: GuestAgent, backend: Backend) -> None:
        """Offset and limit choose the bytes; beyond the end there are none."""
        path = f"{backend.files}/part"
        await agent.write_file(path, b"0123456789")
        await agent.write_file(path, b"abc", append=True)
        assert await agent.read_file(path, offset=8) == b"89abc"
        assert await agent.read_file(path, offset=8, limit=3) == b"89a"
        assert await agent.read_file(path, limit=0) == b""
        assert await agent.read_file(path, offset=100) == b""
        assert [piece async for piece in agent.read_chunks(path, 10)] == [b"abc"]

    async def test_a_file_is_followed_beyond_its_end(self, agent: GuestAgent, backend: Backend) -> None:
        """An open handle that met the end reads on when the file has grown."""
        path = f"{backend.files}/tail"
        await agent.write_file(path, b"one")
        async with agent.opened(path) as handle:
            chunk = await agent.file_read(handle)
            assert (chunk.data, chunk.eof) == (b"one", True)
            assert (await agent.file_read(handle)).data == b""
            await agent.write_file(path, b"two", append=True)
            assert (await agent.file_read(handle)).data == b"two"

    async def test_a_handle_moves_and_closes(self, agent: GuestAgent, backend: Backend) -> None:
        """Seeking counts from start, here and end; a closed handle is unknown."""
        path = f"{backend.files}/seek"
        async with agent.opened(path, "w+") as handle:
            assert await agent.file_write(handle, b"0123456789") == 10
            await agent.file_flush(handle)
            assert await agent.file_seek(handle, 2) == 2
            assert await agent.file_seek(handle, 3, "cur") == 5
            assert (await agent.file_read(handle, 2)).data == b"56"
            assert await agent.file_seek(handle, -1, "end") == 9
            with pytest.raises(AgentError, match="seek"):
                await agent.file_seek(handle, -1)
        with pytest.raises(AgentError, match=f"'{handle}' has not been found"):
            await agent.file_read(handle)

    async def test_files_that_cannot_be_opened(self, agent: GuestAgent, backend: Backend) -> None:
        """Missing files, missing folders, folders and wrong modes are the agent's errors."""
        with pytest.raises(AgentError, match="No such file or directory"):
            await agent.read_file(f"{backend.files}/none")
        with pytest.raises(AgentError, match="No such file or directory"):
            await agent.write_file(f"{backend.files}/none/x", b"")
        with pytest.raises(AgentError, match="Is a directory"):
            await agent.write_file(backend.files, b"")
        with pytest.raises(AgentError, match="mode"):
            await agent.file_open(f"{backend.files}/x", "q")

    async def test_a_failed_read_leaves_no_handle_open(self, agent: GuestAgent, backend: Backend) -> None:
        """The handle is closed when the block in it fails."""
        async with agent.opened(f"{backend.files}/x", "w") as handle:
            pass
        with pytest.raises(AgentError, match="Bad file descriptor"):
            async with agent.opened(f"{backend.files}/x") as handle:
                await agent.file_write(handle, b"x")
        with pytest.raises(AgentError, match="has not been found"):
            await agent.file_seek(handle, 0)

    async def test_what_is_no_text_cannot_be_a_path(self, agent: GuestAgent) -> None:
        """A lone surrogate is refused before it is sent; the connection stays in step."""
        with pytest.raises(InvalidInputError, match="guest-file-open"):
            await agent.read_file("/\udcff")
        await agent.ping()

    # --- staying in step ----------------------------------------------------------------------------------------------

    async def test_a_late_reply_is_never_taken_for_the_next(self, agent: GuestAgent, backend: Backend) -> None:
        """After a time-out, replies that come late are dropped."""
        backend.stop()
        for _ in range(3):
            with pytest.raises(AgentTimeoutError, match="guest-"):
                await agent.call("guest-info", timeout=0.03)
        backend.resume()
        assert set(await agent.call("guest-get-host-name")) == {"host-name"}
        assert (await agent.run(*shell("exit 7"))).exit_code == 7

    async def test_a_cancelled_command_does_no_harm(self, agent: GuestAgent, backend: Backend) -> None:
        """The next command gets its own reply."""
        backend.stop()
        task = asyncio.create_task(agent.call("guest-info"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        backend.resume()
        assert await agent.call("guest-get-time") > 0

    async def test_leaving_after_a_lost_command(self, agent: GuestAgent, backend: Backend) -> None:
        """`close` reads what is still to come, so that the agent lives and its next client gets nothing of it."""
        backend.stop()
        with pytest.raises(AgentTimeoutError):
            await agent.call("guest-info", timeout=0.02)
        backend.resume()
        time.sleep(0.05)  # noqa: ASYNC251 - the reply arrives while nobody reads
        await agent.close()
        assert not agent.connected
        async with GuestAgent(backend.socket) as following:
            assert (await following.run(*shell("exit 7"))).exit_code == 7

    async def test_half_a_request_of_an_earlier_client(self, agent: GuestAgent, backend: Backend) -> None:
        """What somebody left half-sent does not spoil the next client's first command."""
        await agent.close()
        send_and_leave(backend.socket, b'{"execute":"guest-pi')
        await agent.connect()
        await agent.ping()

    async def test_the_agents_own_words_for_rubbish(self, agent: GuestAgent, backend: Backend) -> None:
        """0xFF discards half a request; rubbish is answered with an error and forgotten."""
        await agent.close()
        data = b'{"execute":"guest-pi\xff{"execute":"guest-sync","arguments":{"id":1}}\nrubbish\n{"execute":"guest-ping","id":2}\n'
        lines = await asyncio.to_thread(ask, backend.socket, data, 4)
        assert b"JSON parse error, stray" in lines[0]
        assert b"1" in lines[1]
        assert b"JSON parse error" in lines[2]
        assert b"error" not in lines[3]

    async def test_one_client_at_a_time(self, agent: GuestAgent, backend: Backend) -> None:
        """A second client is not served before the first has left; its message says what may be the matter."""
        second = GuestAgent(backend.socket, "vm1")
        with pytest.raises(AgentTimeoutError, match=r"guest vm1: .*another client"):
            await second.connect(0.05)
        await agent.close()
        await second.connect()
        await second.ping()
        await second.close()

    async def test_an_agent_that_dies(self, agent: GuestAgent, backend: Backend) -> None:
        """The socket closes, commands fail until the caller connects again, and what the old agent knew is gone."""
        handle = await agent.file_open(f"{backend.files}/x", "w")
        backend.kill()
        with pytest.raises(AgentDisconnectedError):
            await agent.ping()
        await asyncio.wait_for(agent.wait_disconnected(), 5)
        assert not agent.connected
        with pytest.raises(AgentDisconnectedError, match="not connected"):
            await agent.ping()
        await agent.wait_until_answers(10)
        with pytest.raises(AgentError, match=f"handle '{handle}' has not been found"):
            await agent.file_close(handle)
