"""Stock agents in namespaces of their own: private files, a reboot that looks like one, a network among themselves."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from vmr import spool
from vmr.agent import GuestAgent
from vmr.errors import AgentError, GuestError
from vmr.guests import Backend, GuestSpec, running

SPECS = [GuestSpec(name=f"node {n}", address=f"10.8.0.{n + 1}/24") for n in range(10)]
Shell = Callable[[GuestAgent, str], Awaitable[str]]
Ended = Callable[[Path, str], Awaitable[None]]
Sockets = dict[str, Path]


@pytest.fixture(scope="module")
def sockets(real: Callable[[str], Backend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sockets]:
    """Start ten guests on one network; stopping them leaves nothing, neither processes nor network devices."""
    backend, folder = real("agent"), tmp_path_factory.mktemp("agents")
    devices = names_in("/sys/class/net")
    try:
        yield asyncio.run(backend.start(SPECS, folder))
    finally:
        assert names_in("/sys/class/net") == devices
        asyncio.run(backend.stop(folder))
        assert running(folder) == []


def names_in(folder: str) -> set[str]:
    """Return the names of what is in a folder of the host."""
    return {path.name for path in Path(folder).iterdir()}


async def test_files_are_private(sockets: Sockets, shell: Shell) -> None:
    """What a guest writes is neither its neighbour's nor the host's, in a folder that all of them have."""
    async with GuestAgent(sockets["node 0"]) as one, GuestAgent(sockets["node 1"]) as other:
        await shell(one, "echo mine >/var/launch/private-to-node-0; echo mine >/etc/private-to-node-0")
        assert await shell(other, "ls /var/launch") == ""
        assert await shell(other, "ls /etc | grep -c private-to-node || true") == "0\n"
    assert "private-to-node-0" not in names_in("/etc")


async def test_a_guest_has_its_own_name_pids_and_devices(sockets: Sockets, shell: Shell) -> None:
    """Hostname, process list and network interfaces are the guest's own, and people's folders of the host are empty."""
    async with GuestAgent(sockets["node 3"]) as agent:
        assert await shell(agent, "hostname") == "node-3\n"
        assert await shell(agent, "cat /proc/1/cmdline | tr '\\0' ' '") == "sh /.guest-init "
        assert {device.name for device in await agent.network_get_interfaces()} == {"lo", "eth0"}
        assert await shell(agent, "ls -A /root /home | grep -v : || true") == "\n"


async def test_a_guest_has_no_power_over_the_host(sockets: Sockets) -> None:
    """Clock, kernel settings and mounts are refused, and freezing file systems is not offered."""
    async with GuestAgent(sockets["node 4"]) as agent:
        with pytest.raises(AgentError, match="set time"):
            await agent.set_time(0)
        with pytest.raises(AgentError, match="disabled"):
            await agent.call("guest-fsfreeze-freeze")
        assert (await agent.run("/bin/sh", ["-c", "echo x >/proc/sys/kernel/core_pattern"])).exit_code != 0
        assert (await agent.run("/bin/mount", ["-t", "tmpfs", "tmpfs", "/mnt"])).exit_code != 0


async def test_the_hosts_environment_stays_out(sockets: Sockets, shell: Shell) -> None:
    """Programs in a guest do not see what is in the environment of the process that started it."""
    async with GuestAgent(sockets["node 5"]) as agent:
        names = {line.partition("=")[0] for line in (await shell(agent, "env")).splitlines()}
    assert names <= {"PATH", "HOME", "PWD", "SHLVL", "_", "OLDPWD"}


async def test_a_reboot_keeps_launch_files_and_empties_tmp(sockets: Sockets, shell: Shell) -> None:
    """A reboot ends every program and closes the socket; then the agent answers again, with /var/launch as it was."""
    async with GuestAgent(sockets["node 6"]) as agent:
        await shell(agent, "echo kept >/var/launch/kept; echo gone >/tmp/gone")
        program = await agent.exec("/bin/sleep", ["1000"])
        assert not (await agent.exec_status(program)).exited
        await agent.shutdown("reboot")
        await agent.wait_disconnected()
        await agent.wait_until_answers(10)
        assert await shell(agent, "cat /var/launch/kept; ls -A /tmp; pgrep -c sleep || true") == "kept\n0\n"
        assert "inet 10.8.0.7/24" in await shell(agent, "ip -4 addr show eth0")


async def test_an_agent_that_dies_comes_back(sockets: Sockets, shell: Shell) -> None:
    """The guest starts its agent again when that is killed."""
    async with GuestAgent(sockets["node 7"]) as agent:
        with pytest.raises(GuestError):  # no answer, or a new agent that knows nothing of the program
            await kill_agent(agent)
        await agent.wait_until_answers(10)
        assert await shell(agent, "hostname") == "node-7\n"


async def test_guests_reach_each_other_and_not_the_host(sockets: Sockets, shell: Shell) -> None:
    """A TCP connection between two guests carries data; the host has no way to their network."""
    async with GuestAgent(sockets["node 8"]) as server, GuestAgent(sockets["node 9"]) as client:
        await server.exec("/usr/bin/perl", ["-e", LISTEN])
        assert await shell(client, f"perl -e '{CONNECT}'") == "hello from node-8\n"
    route = await asyncio.to_thread(subprocess.run, ["ip", "-4", "addr"], capture_output=True, text=True, check=True)
    assert "10.8.0." not in route.stdout


LISTEN = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 1, ReuseAddr => 1) or die; "
    'my $c = $s->accept; print $c "hello from ", `hostname`;'
)
CONNECT = (
    "use IO::Socket::INET; my $s; "
    'for (1..100) { last if $s = IO::Socket::INET->new(PeerAddr => "10.8.0.9:7000", Timeout => 5); select(undef, undef, undef, 0.05) } '
    "print <$s>;"
)


async def test_a_powered_down_guest_is_started_again(
    real: Callable[[str], Backend], ended: Ended, tmp_path: Path
) -> None:
    """A power-down ends the guest's processes; a later start makes it anew, beside one that never stopped."""
    backend = real("agent")
    specs = [GuestSpec(name="a"), GuestSpec(name="b")]
    sockets = await backend.start(specs, tmp_path)
    try:
        first = {guest.name: guest.pid for guest in running(tmp_path)}
        async with GuestAgent(sockets["a"]) as agent:
            await agent.shutdown("powerdown")
            await agent.wait_disconnected()
        await ended(tmp_path, "a")
        assert list(backend.adopt(tmp_path)) == ["b"]
        assert await backend.start(specs, tmp_path) == sockets
        second = {guest.name: guest.pid for guest in running(tmp_path)}
        assert second["a"] != first["a"]
        assert second["b"] == first["b"]
    finally:
        await backend.stop(tmp_path)
    assert running(tmp_path) == []


async def kill_agent(agent: GuestAgent) -> None:
    """Have the agent start a program that kills it, and ask for that program's status until nobody knows it."""
    program = await agent.exec("/bin/sh", ["-c", "kill -9 $PPID"], timeout=1)
    while True:
        await agent.exec_status(program, timeout=1)


async def test_two_handlers_that_begin_at_once_do_not_disturb_each_other(sockets: Sockets, shell: Shell) -> None:
    """Whichever of them sets a folder of an earlier run aside, both know the boot, and all of it is aside."""
    async with GuestAgent(sockets["node 9"]) as agent:
        for number in range(4):
            await shell(agent, f"cd /var/launch && for n in $(seq 60); do mkdir -p -- -$n/x-{number}; done")
            begin = spool.begin(f"run-{number}")
            done = await asyncio.gather(*(agent.run(begin.path, begin.arguments) for _ in range(2)))
            assert [status.exit_code for status in done] == [0, 0]
            assert done[0].stdout == done[1].stdout != b""
            assert await shell(agent, "ls /var/launch") == ""
