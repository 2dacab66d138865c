"""A handler that drives a VM over a driver of somebody else's, in a guest of its own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator
from inspect import isfunction
from pathlib import Path
from types import CodeType

import pytest

from tests.handler.harness import HOST, bodies, ended, handling, until
from tests.interface.agents import LOG
from tests.interface.other_driver import ENGINE, OtherDriver
from tests.real import real_guests
from vmr import drivers, events
from vmr.clock import SystemClock
from vmr.driver_guest import DriverGuest
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, GuestError
from vmr.events import AgentAddress, EntryFinished, OutputCaptured, VmStateSet
from vmr.guest import Guest
from vmr.guests import GuestSpec
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile, Transfer
from vmr.spool import INCOMING, Command

LARGE = bytes(range(256)) * 1000

OUTPUT = r"printf '\377\000caf\303\251\n'; head -c 70000 /dev/zero; printf 'wr\377ng\n' >&2; exit 3"


@pytest.fixture(name="agent_socket")
async def _agent_socket(tmp_path: Path) -> AsyncIterator[Path]:
    """Yield the socket of a stock agent that has namespaces, files and a boot of its own."""
    guests = real_guests("agent")
    yield (await guests.start([GuestSpec(name="vm1")], tmp_path / "guests"))["vm1"]
    await guests.stop(tmp_path / "guests")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the other driver installed."""
    monkeypatch.setattr(drivers, "available_drivers", lambda: {OtherDriver})


def _content(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_a_schedule_over_another_driver(log: AsyncLog, tmp_path: Path, agent_socket: Path) -> None:
    """Files in and out, output of any bytes, exit codes, a reboot that is asked for, and both kinds of time."""
    (tmp_path / "large").write_bytes(LARGE)
    await log.put_resource(tmp_path / "large")
    schedule = (
        Entry(
            id="output",
            start_time=-3,
            executable="run.sh",
            files=(EntryFile("run.sh", content=OUTPUT, executable=True), EntryFile("/root/l", resource="large")),
        ),
        Entry(id="reboot", start_time=-2, executable="[ -e /root/again ] || { touch /root/again; exit 10; }; true"),
        Entry(id="out", start_time=-1, transfer=Transfer("/root/l*")),
        Entry(id="later", start_time=1, executable="echo", arguments="late"),
    )
    address = AgentAddress(HOST, str(agent_socket), ENGINE)
    await log.add_vm("uuid", "vm1", agent=address)
    await log.put_schedule("vm1", schedule)
    await log.launch(start_buffer=0)
    async with handling(log, tmp_path / "handler"):
        recorded = await until(log, ended(5, EntryFinished))
    finished = [(each.entry, each.attempt, each.exit_code) for each in bodies(recorded, EntryFinished)]
    assert finished == [("output", 1, 3), ("reboot", 1, 10), ("reboot", 2, 0), ("out", 1, None), ("later", 1, 0)]
    written = dict.fromkeys(("stdout", "stderr"), b"")
    for piece in bodies(recorded, OutputCaptured):
        if piece.entry == "output":
            written[piece.stream] += piece.data if piece.data is not None else (piece.text or "").encode()
    assert written == {"stdout": b"\xff\0caf\xc3\xa9\n" + bytes(70000), "stderr": b"wr\xffng\n"}
    (copied,) = bodies(recorded, events.FileTransferred)
    assert copied.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert _content(copied.host_path) == LARGE
    assert len(bodies(recorded, events.VmRebooted)) == 1
    assert [each.state for each in bodies(recorded, VmStateSet)] == ["configuring", "configured"]


async def test_what_the_driver_cannot_do(agent_socket: Path, tmp_path: Path) -> None:
    """Its failures are the handler's errors: refusals, absences, and a socket that is gone."""
    guest = DriverGuest(lambda: OtherDriver({"path": str(agent_socket)}, LOG), agent_socket, "vm1", SystemClock())
    with pytest.raises(AgentDisconnectedError, match="not connected"):
        await guest.probe([("/var/launch/x", 1)])
    await guest.connect(10)
    assert await guest.probe([("/var/launch/x", 1)]) == ["absent"]
    assert await guest.read("/no/such", 0, 10) == b""
    with pytest.raises(AgentError, match="/no/such cannot be read"):
        await guest.fetch("/no/such", tmp_path / "x")
    with pytest.raises(GuestError, match="exec_status of its driver: ValueError"):
        await guest.launch_status(999_999)
    await guest.connect(10)
    await guest.close()
    missing = DriverGuest(lambda: OtherDriver({"path": "/none"}, LOG), Path("/none"), "vm1", SystemClock())
    with pytest.raises(AgentDisconnectedError, match=r"connect of its driver: .*No such file"):
        await missing.connect(0.05)
    await missing.close()


async def test_a_driver_that_hangs(agent_socket: Path) -> None:
    """The call is given up with its thread; the next connection has another driver, and works."""
    release = threading.Event()
    made: list[OtherDriver] = []

    class Hanging(OtherDriver):
        def connect(self) -> int | None:
            if len(made) == 1:
                release.wait(60)
                return None
            return super().connect()

    def make() -> OtherDriver:
        made.append(Hanging({"path": str(agent_socket)}, LOG))
        return made[-1]

    guest = DriverGuest(make, agent_socket, "vm1", SystemClock())
    with pytest.raises(AgentTimeoutError, match="no end after"):
        await guest.connect(0.05)
    assert len(made) == 1
    await guest.connect(10)
    assert len(made) == 2
    assert await guest.begin("run")
    await guest.close()
    release.set()


async def test_a_successor_goes_on(log: AsyncLog, tmp_path: Path, agent_socket: Path) -> None:
    """A handler is ended in the middle of a program; its successor has every byte once and runs nothing again."""
    script = "echo before; until [ -e /root/go ]; do sleep 0.05; done; echo after"
    await log.add_vm("uuid", "vm1", agent=AgentAddress(HOST, str(agent_socket), ENGINE))
    await log.put_schedule("vm1", [Entry(id="long", start_time=-1, executable=script)])
    await log.launch(start_buffer=0)
    async with handling(log, tmp_path / "first"):
        await until(log, ended(1, OutputCaptured))
    async with handling(log, tmp_path / "second"):
        await until(log, ended(2, events.HandlerAttached))
        await log.put_schedule(
            "vm1",
            [
                Entry(id="long", start_time=-1, executable=script),
                Entry(id="go", start_time=-2, files=(EntryFile("/root/go", content="now"),)),
            ],
        )
        recorded = await until(log, ended(2, EntryFinished))
    pieces = [each for each in bodies(recorded, OutputCaptured) if each.entry == "long"]
    assert "".join(each.text or "" for each in pieces) == "before\nafter\n"
    assert [each.entry for each in bodies(recorded, events.EntryStarted)] == ["long", "go"]


async def test_a_piece_that_cannot_be_copied(agent_socket: Path) -> None:
    """A guest without room for the copy of a piece is an error, and not the end of the file."""
    guest = DriverGuest(lambda: OtherDriver({"path": str(agent_socket)}, LOG), agent_socket, "vm1", SystemClock())
    await guest.connect(10)
    await guest.begin("run")
    await guest._execute(Command("/bin/ln", ("-sf", "/dev/full", f"{INCOMING}/piece")))
    with pytest.raises(GuestError, match="disk full"):
        await guest.read("/etc/passwd", 0, 10)
    await guest.close()


def test_nothing_is_asked_of_an_agent() -> None:
    """Whatever a guest does over its agent's own client, one with a driver does in its own way."""
    waiting = [name for name, each in vars(Guest).items() if isfunction(each) and not name.startswith("_")]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        used = _names(getattr(DriverGuest, name).__code__)
        assert "_agent" not in used, name
        waiting += [each for each in used if each not in seen and isfunction(getattr(DriverGuest, each, None))]
    assert {"begin", "install", "probe", "kill"} <= seen


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, also in functions within it."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return set(code.co_names).union(*(_names(each) for each in inner))
