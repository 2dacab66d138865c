"""The client against simulated guests, which do as the stock agent does, and what only a simulation can show."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agent.agent_contract import EVERY_BYTE, AgentContract, ask, eventually, send_and_leave, shell
from tests.agent.backends import SimulatedAgent
from tests.agent.spool_contract import SpoolContract, directory, launch, probe, put_script, run
from vmr import spool
from vmr.agent import GuestAgent
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, GuestError
from vmr.testing import Behaviour, Fault, Output, SimulatedHost, SimulatedProgram


@pytest.fixture
async def backend() -> AsyncIterator[SimulatedAgent]:
    """Yield a simulated guest whose reboot takes 20 ms, in a folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    async with SimulatedHost(
        folder, ["vm1"], Behaviour({"touch": SimulatedProgram(reboots=9)}, boot_seconds=0.02)
    ) as host:
        yield SimulatedAgent(host, "vm1")
    shutil.rmtree(folder)


@pytest.fixture
async def agent(backend: SimulatedAgent) -> AsyncIterator[GuestAgent]:
    """Yield a connected client."""
    async with GuestAgent(backend.socket, "simulated") as client:
        yield client


__all__ = ["directory"]  # a fixture


class TestSimulatedAgent(AgentContract):
    """The contract."""


class TestSimulatedSpool(SpoolContract):
    """The spool's operations, and what a real guest would need a reboot for."""

    async def test_a_reboot_ends_what_runs(self, agent: GuestAgent, directory: str) -> None:
        """A running attempt is dead afterwards, with the output that it had."""
        await put_script(agent, directory, "echo", "one; sleep inf; echo two")
        command = spool.launch(directory, 1)
        await agent.exec(command.path, command.arguments)
        assert await probe(agent, (directory, 1)) == ["running"]
        await agent.shutdown("reboot")
        await agent.wait_until_answers(5)
        assert await probe(agent, (directory, 1)) == ["dead"]
        assert await agent.read_file(f"{directory}/stdout") == b"one\n"

    async def test_the_agent_dies_and_programs_go_on(
        self, agent: GuestAgent, backend: SimulatedAgent, directory: str
    ) -> None:
        """What a dead agent had started is found by its files."""
        await put_script(agent, directory, "sleep", "0.2; echo done")
        command = spool.launch(directory, 1)
        pid = await agent.exec(command.path, command.arguments)
        backend.kill()
        with pytest.raises(AgentDisconnectedError):
            await agent.ping()
        await agent.wait_until_answers(5)
        with pytest.raises(AgentError):
            await agent.exec_status(pid)

        async def over() -> bool:
            return await probe(agent, (directory, 1)) != ["running"]

        await eventually(over)
        assert await agent.read_file(f"{directory}/stdout") == b"done\n"

    async def test_a_run_begins_with_an_empty_spool(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """Another run's folders are moved away, its own are kept; a program that still writes does no harm."""
        directory = spool.working_directory("1/old")
        boot = spool.parse_begin((await run(agent, spool.begin("run-1"))).stdout)
        assert boot.encode() in await agent.read_file("/proc/sys/kernel/random/boot_id")
        slow = SimulatedProgram(duration=0.3, output=(Output("late\n", at=0.3),), reboots=1)
        backend.guest.machine.behaviour = Behaviour({"slow": slow})
        await put_script(agent, directory, "slow")
        command = spool.launch(directory, 1)
        await agent.exec(command.path, command.arguments)
        await run(agent, spool.begin("run-1"))
        assert await probe(agent, (directory, 1)) == ["running"]
        await run(agent, spool.begin("run-2"))
        assert await probe(agent, (directory, 1)) == ["absent"]
        moved = f"{spool.INCOMING}/before-run-2/1/old/attempt-1/stdout"

        async def written() -> bool:
            return await agent.read_file(moved) == b"late\n"

        await eventually(written)

    async def test_programs_are_what_a_test_says(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """By name, path, command line or place in the spool; only the first attempts ask for a reboot."""
        programs = {
            "updater": SimulatedProgram(exit_code=5, stderr="no net\n", reboots=1),
            "7/*": SimulatedProgram(output=(Output("{n} ", count=3), Output(data=EVERY_BYTE, stream="stderr"))),
        }
        backend.guest.machine.behaviour = Behaviour(programs=programs)
        directory = spool.working_directory("1/updater")
        await put_script(agent, directory, "/opt/updater", "--all")
        replies = [await launch(agent, directory, attempt) for attempt in (1, 2)]
        outcomes = [reply.outcome for reply in replies if isinstance(reply.outcome, spool.Finished)]
        assert [(outcome.exit_code, outcome.reboot) for outcome in outcomes] == [(5, True), (5, False)]
        directory = spool.working_directory("7/anything")
        await put_script(agent, directory, "anything")
        reply = await launch(agent, directory)
        assert (reply.stdout, reply.stderr) == (b"0 1 2 ", EVERY_BYTE)


class TestPower:
    """Reboots and shutdowns, which nobody does to the host of the tests."""

    async def test_a_reboot(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """The socket closes and comes back; files stay, programs and the boot's identity do not."""
        await agent.write_file("/root/kept", b"kept")
        before = await agent.read_file("/proc/sys/kernel/random/boot_id")
        pid = await agent.exec(*shell("sleep inf"))
        await agent.shutdown("reboot")
        assert not agent.connected
        await agent.wait_until_answers(5)
        assert await agent.read_file("/root/kept") == b"kept"
        assert await agent.read_file("/proc/sys/kernel/random/boot_id") != before
        with pytest.raises(AgentError):
            await agent.exec_status(pid)

    async def test_a_powerdown(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """The socket is gone until the power is back."""
        await agent.shutdown()
        assert not agent.connected
        with pytest.raises(AgentDisconnectedError):
            await agent.connect()
        await backend.host.power_on("vm1")
        await agent.connect()

    async def test_a_reset(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """A guest that reboots unasked closes the socket at any time."""
        await backend.host.reset("vm1")
        await asyncio.wait_for(agent.wait_disconnected(), 5)
        await agent.wait_until_answers(5)

    async def test_a_shutdown_needs_a_connection(self, agent: GuestAgent) -> None:
        """A command that cannot be sent is an error, though its success is not answered."""
        await agent.close()
        with pytest.raises(AgentDisconnectedError, match="not connected"):
            await agent.shutdown("reboot")

    async def test_time_and_passwords_can_be_set(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """Both are the guest's own."""
        await agent.set_time(1_000_000_000 * 10**9)
        assert 0 <= await agent.get_time() - 1_000_000_000 * 10**9 < 5 * 10**9
        await agent.set_time()
        assert abs(await agent.get_time() / 1e9 - time.time()) < 5
        await agent.set_user_password("root", "pässword")
        assert backend.guest.agent.passwords == {"root": "pässword"}


class TestMachineSocket:
    """The socket of a virtual machine, which outlives agents and boots."""

    @pytest.fixture(autouse=True)
    def machine(self, backend: SimulatedAgent) -> None:
        """Make it one."""
        backend.guest.machine.behaviour = Behaviour(boot_seconds=0.4, socket="machine")

    async def test_a_reboot_is_no_end(self, agent: GuestAgent) -> None:
        """The connection stays; what is sent meanwhile is answered after the boot."""
        before = await agent.read_file("/proc/sys/kernel/random/boot_id")
        await agent.shutdown("reboot")
        assert agent.connected
        await agent.wait_until_answers(5)
        assert await agent.read_file("/proc/sys/kernel/random/boot_id") != before

    async def test_requests_wait_for_the_boot(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """What any client sends while the machine boots is answered when it has booted."""
        await agent.shutdown("reboot")
        await agent.close(0)
        answers: list[bytes] = await asyncio.to_thread(
            ask, backend.socket, b'{"execute":"guest-sync","arguments":{"id":7}}\n', 3
        )
        assert b"7" in answers[-1]

    async def test_an_agent_that_dies_loses_one_command(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """There is no end of the connection to notice: a time-out, and then the next agent."""
        backend.kill()
        with pytest.raises(AgentTimeoutError):
            await agent.ping(0.05)
        await agent.ping()
        assert agent.connected

    async def test_what_a_client_left_unread_meets_the_next(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """A reply that nobody waited for is not taken for an answer to the next client."""
        await agent.close()
        backend.guest.files.create("/root/long", data=bytes(1_000_000))
        backend.stop()
        opening, reading = (
            b'{"execute":"guest-file-open","arguments":{"path":"/root/long"}}\n',
            b'{"execute":"guest-file-read","arguments":{"handle":1000,"count":1000000}}\n',
        )
        await asyncio.to_thread(send_and_leave, backend.socket, opening + reading)
        await asyncio.sleep(0.02)
        backend.resume()
        received: list[bytes] = await asyncio.to_thread(ask, backend.socket, b'{"execute":"guest-ping"}\n', 3)
        assert [len(line) > 1_000_000 for line in received] == [False, True, False]
        backend.stop()
        await asyncio.to_thread(send_and_leave, backend.socket, reading)
        await asyncio.sleep(0.02)
        backend.resume()
        await agent.connect()
        assert await agent.call("guest-file-seek", {"handle": 1000, "offset": 7, "whence": 0}) == {
            "position": 7,
            "eof": False,
        }

    async def test_a_powerdown_closes_it(self, agent: GuestAgent) -> None:
        """The machine's process has ended."""
        await agent.shutdown("powerdown")
        assert not agent.connected


class TestFaults:
    """Each fault is met with the error that says what is known."""

    async def test_a_lost_reply(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """The command ran, its reply is gone: a time-out, and the file is there."""
        backend.guest.inject(Fault("drop", "guest-file-open"))
        with pytest.raises(AgentTimeoutError, match=r"guest-file-open: no reply within 0\.05 s"):
            await agent.call("guest-file-open", {"path": "/root/x", "mode": "w"}, timeout=0.05)
        assert await agent.read_file("/root/x") == b""

    async def test_a_lost_command(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """A time-out looks the same when the command never ran."""
        backend.guest.inject(Fault("lose", "guest-file-open"))
        with pytest.raises(AgentTimeoutError):
            await agent.call("guest-file-open", {"path": "/root/x", "mode": "w"}, timeout=0.05)
        with pytest.raises(AgentError, match="No such file"):
            await agent.read_file("/root/x")

    async def test_a_late_reply(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """A reply that comes during the next synchronization is dropped."""
        backend.guest.inject(Fault("delay", "guest-get-time", seconds=0.1))
        with pytest.raises(AgentTimeoutError):
            await agent.call("guest-get-time", timeout=0.03)
        assert set(await agent.call("guest-get-host-name")) == {"host-name"}

    @pytest.mark.parametrize(
        "rubbish",
        [
            b"rubbish\n",
            b"\x00\xfe\n",
            b"[]\n",
            b"{}\n",
            b'{"return":{}}\n' * 3 + b"x\n",
            b'{"error":5}\n',
            b'{"error":{"class":"X","desc":"boo"}}\n',
            b"[" * 100_000 + b"\n",
            b'{"id":' + b"[" * 100_000 + b"\n",
        ],
    )
    async def test_rubbish(self, agent: GuestAgent, backend: SimulatedAgent, rubbish: bytes) -> None:
        """What is no reply is an error or ignored until the time-out, and the next command works."""
        backend.guest.inject(Fault("garbage", "guest-ping", data=rubbish))
        with pytest.raises(GuestError):
            await agent.ping(timeout=0.05)
        assert (await agent.run(*shell("exit 7"))).exit_code == 7

    async def test_a_refusal(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """A file whose handle cannot be closed says so on the error that came first."""
        backend.guest.inject(Fault("refuse", "guest-file-write"), Fault("refuse", "guest-file-close"))
        with pytest.raises(AgentError, match="guest-file-write: refused") as error:
            await agent.write_file("/root/x", b"x")
        assert "stays open in the guest" in error.value.__notes__[0]

    async def test_a_hung_agent(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """Nothing is answered until it goes on; closing does not wait for ever."""
        backend.guest.inject(Fault("hang"))
        with pytest.raises(AgentTimeoutError):
            await agent.ping(0.02)
        await agent.close(0.02)
        backend.resume()
        await agent.connect()

    async def test_a_late_reply_to_a_client_that_has_left(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """It is lost with its connection: the next client does not get it."""
        await agent.close()
        backend.guest.inject(Fault("delay", "guest-sync", seconds=0.1))
        request = b'{"execute":"guest-sync","arguments":{"id":%d}}\n'
        await asyncio.to_thread(send_and_leave, backend.socket, request % 1)
        await asyncio.sleep(0.02)
        assert await asyncio.to_thread(ask, backend.socket, request % 2, 1) == [b'{"return":2}']

    async def test_latency_keeps_the_order(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """Delayed replies come late and in order."""
        backend.guest.machine.behaviour = Behaviour(latency=0.01)
        begin = time.monotonic()
        await asyncio.gather(*(agent.ping() for _ in range(3)))
        assert time.monotonic() - begin >= 0.03
