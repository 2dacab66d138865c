"""Micro-VMs: real machines with the stock agent, a network among themselves, and disks that outlive a reboot."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmr.agent import GuestAgent
from vmr.errors import GuestError, GuestSetupError, InvalidInputError
from vmr.guests import Backend, GuestSpec, running

Shell = Callable[[GuestAgent, str], Awaitable[str]]
Ended = Callable[[Path, str], Awaitable[None]]
SPECS = [GuestSpec(name="web server", address="10.9.0.1/24"), GuestSpec(name="client.1", address="10.9.0.2/24")]


@dataclass
class Pair:
    """Two running micro-VMs on one network."""

    backend: Backend
    folder: Path
    sockets: dict[str, Path]

    @property
    def server(self) -> GuestAgent:
        """A new client of the first VM's agent."""
        return GuestAgent(self.sockets["web server"])

    @property
    def client(self) -> GuestAgent:
        """A new client of the second VM's agent."""
        return GuestAgent(self.sockets["client.1"])


@pytest.fixture(scope="module")
def pair(real: Callable[[str], Backend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Boot two micro-VMs, deep in the file system and with a comma in their folder's name."""
    backend = real("vm")
    folder = tmp_path_factory.mktemp("vm") / ("deep" * 20) / "a run, with a comma"
    sockets = asyncio.run(backend.start(SPECS, folder))
    try:
        yield Pair(backend, folder, sockets)
    finally:
        asyncio.run(backend.stop(folder))
        assert running(folder) == []
        assert list(folder.rglob("*.ext4")) == []


async def test_a_vm_has_its_name_address_and_time(pair: Pair, shell: Shell) -> None:
    """A booted VM is called after its guest, has the address it was given, and the host's time."""
    async with pair.client as agent:
        assert await shell(agent, "hostname") == "client-1\n"
        assert "inet 10.9.0.2/24" in await shell(agent, "ip -4 addr show eth0")
        assert abs(int(await shell(agent, "date +%s")) - time.time()) < 60


async def test_vms_reach_each_other(pair: Pair, shell: Shell) -> None:
    """One VM serves a file of random bytes over HTTP, the other pings it and fetches the same bytes."""
    async with pair.server as server, pair.client as client:
        digest = await shell(
            server,
            "mkdir -p /srv && head -c 3000000 /dev/urandom >/srv/file && httpd -p 8080 -h /srv && sha256sum </srv/file",
        )
        await shell(client, "ping -c 1 -W 5 10.9.0.1")
        assert await shell(client, "wget -q -O - http://10.9.0.1:8080/file | sha256sum") == digest


async def test_a_reboot_keeps_files_name_and_address(pair: Pair, shell: Shell) -> None:
    """A reboot is a new boot of the kernel, over the same socket, and /var/launch, hostname and address are as before."""
    content = os.urandom(200_000)
    async with pair.client as agent:
        before = await shell(agent, "mkdir -p /var/launch/1/a; cat /proc/sys/kernel/random/boot_id")
        await agent.write_file("/var/launch/1/a/stdout", content)
        await agent.shutdown("reboot")
        await agent.wait_until_answers(60)
        assert await shell(agent, "cat /proc/sys/kernel/random/boot_id") != before
        assert await agent.read_file("/var/launch/1/a/stdout") == content
        assert await shell(agent, "hostname") == "client-1\n"
        await shell(agent, "ping -c 1 -W 5 10.9.0.1")


async def test_an_agent_that_dies_comes_back(pair: Pair, shell: Shell) -> None:
    """The VM starts its agent again when that is killed."""
    async with pair.server as agent:
        with pytest.raises(GuestError):  # no answer, or a new agent that knows nothing of the program
            await kill_agent(agent)
        await agent.wait_until_answers(20)
        assert await shell(agent, "hostname") == "web-server\n"


async def test_a_password_is_set_by_the_agent(pair: Pair, shell: Shell) -> None:
    """The agent's own way to set a password works, and leaves the shadow file private."""
    async with pair.server as agent:
        await agent.set_user_password("root", "secret")
        assert "root:$6$" in await shell(agent, "cat /etc/shadow")
        assert (await shell(agent, "ls -l /etc/shadow")).startswith("-rw-------")


async def test_a_vm_that_ended_is_started_again_with_its_disk(pair: Pair, shell: Shell, ended: Ended) -> None:
    """After a power-down the VM is not among the living; a start brings it back with its files, and leaves the other alone."""
    async with pair.client as agent:
        await shell(agent, "echo kept >/var/launch/kept; sync")
        await agent.shutdown("powerdown")
        await agent.wait_disconnected()
    others = [guest for guest in running(pair.folder) if guest.name == "web server"]
    await ended(pair.folder, "client.1")
    assert list(pair.backend.adopt(pair.folder)) == ["web server"]
    assert await pair.backend.start(SPECS, pair.folder) == pair.sockets
    assert [guest for guest in running(pair.folder) if guest.name == "web server"] == others
    async with pair.client as agent:
        assert await shell(agent, "cat /var/launch/kept") == "kept\n"
        await shell(agent, "ping -c 1 -W 5 10.9.0.1")


async def test_a_late_vm_cannot_join_a_running_network(pair: Pair) -> None:
    """The network's ports are fixed at its start: a later networked VM is refused, and nothing that runs is harmed."""
    late = GuestSpec(name="late", address="10.9.0.3/24")
    with pytest.raises(InvalidInputError, match="without a port for \\['late'\\]"):
        await pair.backend.start([*SPECS, late], pair.folder)
    assert pair.backend.adopt(pair.folder) == pair.sockets
    assert await pair.backend.start(SPECS, pair.folder) == pair.sockets


async def test_a_vm_that_cannot_boot_says_why(
    real: Callable[[str], Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU's own complaint is in the error, long before the time-out, and no process is left."""
    monkeypatch.setenv("VMR_ACCEL", "no-such-accelerator")
    backend = real("vm")
    with pytest.raises(GuestSetupError, match=r"(?s)guest 'a'.*no-such-accelerator"):
        await backend.start([GuestSpec(name="a")], tmp_path)
    assert running(tmp_path) == []
    await backend.stop(tmp_path)


async def test_a_cancelled_start_leaves_no_vm(real: Callable[[str], Backend], tmp_path: Path) -> None:
    """Whoever interrupts a start has no machines to clean up."""
    backend, begun = real("vm"), asyncio.Event()
    start = asyncio.create_task(backend.start([GuestSpec(name="a")], tmp_path, lambda *_: begun.set()))
    await begun.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert running(tmp_path) == []
    await backend.stop(tmp_path)


async def kill_agent(agent: GuestAgent) -> None:
    """Have the agent start a program that kills it, and ask for that program's status until nobody knows it."""
    program = await agent.exec("/bin/sh", ["-c", "kill -9 $PPID"], timeout=1)
    while True:
        await agent.exec_status(program, timeout=1)
