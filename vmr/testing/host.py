"""Serves simulated guests over Unix sockets, thousands of them from one process, as real guests' agents are served.

``async with SimulatedHost(folder, names) as host`` does it in a test; ``python -m vmr.testing`` in a process of its
own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from collections import deque
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final, Self

from vmr.clock import Clock, SystemClock
from vmr.errors import GuestSetupError
from vmr.testing.guest import Answer, SimulatedGuest
from vmr.testing.programs import Behaviour

_LONGEST_SOCKET_PATH: Final = 107
_FILES_PER_GUEST: Final = 3  # its listening socket, its connection, and its client's end when that is this process too
_SPARE_FILES: Final = 200


def socket_path(folder: Path, name: str) -> Path:
    """Return the socket of the guest ``name``, whatever it is. Raises `GuestSetupError` when ``folder`` is too deep."""
    path = folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}.qga"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise GuestSetupError(
            f"{path} is too long for a Unix socket ({_LONGEST_SOCKET_PATH} bytes): use a shorter folder"
        )
    return path


class _Client(asyncio.Protocol):
    """One client of a guest's agent. Only the first is served; the others wait, as with the stock agent."""

    def __init__(self, port: _Port) -> None:
        self._port = port
        self.socket: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.socket = transport
        self._port.add(self)

    def data_received(self, data: bytes) -> None:
        self._port.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.remove(self)


class _Port:
    """The socket of one guest: its clients, its delayed answers, its restarts."""

    __slots__ = ("_answers", "_clients", "_clock", "_early", "_server", "_tasks", "_unread", "guest", "path")

    def __init__(self, guest: SimulatedGuest, path: Path, clock: Clock) -> None:
        self.guest = guest
        self.path = path
        self._clock = clock
        self._clients: list[_Client] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: deque[tuple[float, bytes, _Client | None]] = deque()
        self._early = b""  # requests to a machine that is booting
        self._unread = b""  # replies to a client that had left

    @property
    def _in_machine(self) -> bool:
        return self.guest.machine.behaviour.socket == "machine"

    @property
    def _client(self) -> _Client | None:
        return self._clients[0] if self._clients else None

    def _up(self) -> bool:
        return self.guest.state == "running"

    async def open(self) -> None:
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Client(self), str(self.path))

    async def close(self) -> None:
        """Stop listening, drop clients and answers under way."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for client in tuple(self._clients):
            client.socket.abort()
        self._answers.clear()
        self._early = self._unread = b""
        for task in tuple(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    def add(self, client: _Client) -> None:
        self._clients.append(client)
        if client is self._client:
            self._greet(client)
        else:
            client.socket.pause_reading()

    def remove(self, client: _Client) -> None:
        place = self._clients.index(client)
        del self._clients[place]
        if place == 0 and self._clients and not self._clients[0].socket.is_closing():
            self._clients[0].socket.resume_reading()
            self._greet(self._clients[0])

    def _greet(self, client: _Client) -> None:
        client.socket.write(self._unread)
        self._unread = b""

    def receive(self, data: bytes) -> None:
        if not self._up():
            self._early += data
            return
        for answer in self.guest.receive(data):
            self.answer(answer)
        if not self._up():
            self._spawn(self.restart())

    def resume(self) -> None:
        for answer in self.guest.resume():
            self.answer(answer)
        if not self._up():
            self._spawn(self.restart())

    def answer(self, answer: Answer) -> None:
        if answer.delay <= 0 and not self._answers:
            self._send(answer.data, self._client)
            return
        self._answers.append((self._clock.monotonic() + answer.delay, answer.data, self._client))
        if len(self._answers) == 1:
            self._spawn(self._send_later())

    def _send(self, data: bytes, asker: _Client | None) -> None:
        if self._client is None and self._in_machine:
            self._unread += data
        elif self._client is not None and (self._in_machine or self._client is asker):
            self._client.socket.write(data)

    async def _send_later(self) -> None:
        while self._answers:
            due, data, asker = self._answers[0]
            await self._clock.sleep(due - self._clock.monotonic())
            self._send(data, asker)
            self._answers.popleft()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def restart(self) -> None:
        """Do what the end of an agent, or of its guest, means for the socket."""
        if not self._in_machine or self.guest.state == "off":
            await self.close()
        if self.guest.state == "rebooting":
            await self._clock.sleep(self.guest.machine.behaviour.boot_seconds)
            self.guest.boot()
        elif self.guest.state == "dead":
            self.guest.restart_agent()
        if self._up():
            if self._server is None:
                await self.open()
            early, self._early = self._early, b""
            self.receive(early)


class SimulatedHost:
    """Simulated guests with their sockets.

    ``folder`` gets the sockets and must exist; ``clock`` decides about the guests' time. ``async with`` starts them;
    ``sockets`` then maps each name to its socket, ``guests`` to its `SimulatedGuest`.
    """

    def __init__(
        self, folder: Path, names: Iterable[str], behaviour: Behaviour | None = None, clock: Clock | None = None
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._ports = {
            name: _Port(SimulatedGuest(name, behaviour, self._clock), socket_path(folder, name), self._clock)
            for name in names
        }

    @property
    def guests(self) -> dict[str, SimulatedGuest]:
        """The guests by name."""
        return {name: port.guest for name, port in self._ports.items()}

    @property
    def sockets(self) -> dict[str, Path]:
        """The sockets of the guests' agents by name."""
        return {name: port.path for name, port in self._ports.items()}

    async def __aenter__(self) -> Self:
        _allow_open_files(len(self._ports))
        for port in self._ports.values():
            await port.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for port in self._ports.values():
            await port.close()

    def resume(self, name: str) -> None:
        """Let a guest's stopped agent go on (`SimulatedGuest.stop`, or the fault ``hang``)."""
        self._ports[name].resume()

    async def power_off(self, name: str) -> None:
        """Cut a guest's power: its socket closes, its programs are gone."""
        port = self._ports[name]
        port.guest.machine.power_off()
        port.guest.state = "off"
        await port.close()

    async def power_on(self, name: str) -> None:
        """Boot a guest that is off."""
        port = self._ports[name]
        port.guest.boot()
        await port.open()

    async def reset(self, name: str) -> None:
        """Reboot a guest unasked, as its reset button does; return when its agent answers again."""
        port = self._ports[name]
        port.guest.machine.power_off()
        port.guest.state = "rebooting"
        await port.restart()


def _allow_open_files(guests: int) -> None:
    """Raise this process's limit of open files as far as ``guests`` need; raises `GuestSetupError` when it may not."""
    needed = guests * _FILES_PER_GUEST + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise GuestSetupError(
                f"{guests} simulated guests need {needed} open files, and this process may have {hard} at most: "
                "raise the hard limit (ulimit -Hn, or LimitNOFILE= of the service), or start fewer guests"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
