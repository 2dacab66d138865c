"""The client against simulated guests, which must do as the stock agent does; and what only a simulation can do to a client."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent_contract import AgentContract, shell
from backends import SimulatedAgent

from vmr.agent import GuestAgent
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, GuestError
from vmr.testing import Behaviour, Fault, SimulatedHost


@pytest.fixture
async def backend() -> AsyncIterator[SimulatedAgent]:
    """Yield a simulated guest whose reboot takes 20 ms, in a folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    async with SimulatedHost(folder, ["vm1"], Behaviour(boot_seconds=0.02)) as host:
        yield SimulatedAgent(host, "vm1")
    shutil.rmtree(folder)


@pytest.fixture
async def agent(backend: SimulatedAgent) -> AsyncIterator[GuestAgent]:
    """Yield a connected client."""
    async with GuestAgent(backend.socket, "simulated") as client:
        yield client


class TestSimulatedAgent(AgentContract):
    """The contract."""


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

    async def test_latency_keeps_the_order(self, agent: GuestAgent, backend: SimulatedAgent) -> None:
        """Delayed replies come late and in order."""
        backend.guest.machine.behaviour = Behaviour(latency=0.01)
        begin = time.monotonic()
        await asyncio.gather(*(agent.ping() for _ in range(3)))
        assert time.monotonic() - begin >= 0.03
