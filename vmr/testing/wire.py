"""Simulated guests without sockets: their agents' clients are connected in the process, over wires with delays and faults of their own.

`WiredHost` does for one event loop what `vmr.testing.SimulatedHost` does over Unix sockets, with the same guests. `WiredGuest` is the handler's
guest over such a wire::

    host = WiredHost(["vm1"], behaviour, clock)
    handler = Handler(log, "lab1", folder, clock=clock, connect=lambda vm: WiredGuest(host, vm.name, clock))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from pathlib import Path
from typing import Any, Final

from vmr.agent import GuestAgent
from vmr.agent_connection import _Stream
from vmr.clock import Clock
from vmr.errors import AgentDisconnectedError
from vmr.guest import Guest
from vmr.testing.guest import SimulatedGuest
from vmr.testing.host import _Client, _Port
from vmr.testing.programs import Behaviour

_NOWHERE: Final = Path("/nonexistent/wire.qga")


class Wire:
    """One connection: two transports, each of which delivers to the other's protocol, in order.

    ``delay`` returns how many seconds the next bytes are on their way; ``repeat`` whether the agent's next bytes come twice.
    """

    def __init__(self, client: asyncio.Protocol, agent: asyncio.Protocol, host: WiredHost, name: str) -> None:
        self.host = host
        self.name = name
        self.loop = asyncio.get_running_loop()
        # What happens at the agent's side is no doing of the client's process.
        self.client = _End(self, client, None)
        self.agent = _End(self, agent, Context())
        self.client.peer, self.agent.peer = self.agent, self.client
        self.client.connected()
        self.agent.connected()

    def cut(self, arrives: float = 0.0) -> int:
        """End the client's side as the end of its process does; return how many bytes were on their way to it.

        ``arrives`` is the part, 0 to 1, of what it had sent and is under way that still gets to the agent.
        """
        request = self.agent.take_under_way()
        unread = len(self.client.take_under_way())
        self.agent.deliver_now(request[: round(len(request) * arrives)])
        self.agent.end()
        self.client.end()
        return unread


class _End(asyncio.Transport):
    """One end of a wire: what is written here is delivered to the peer's protocol."""

    peer: _End

    def __init__(self, wire: Wire, protocol: asyncio.Protocol, context: Context | None) -> None:
        super().__init__()
        self._wire = wire
        self._protocol = protocol
        self._context = context
        self.last_arrival = 0.0
        self._under_way: list[bytes] = []
        self._paused: list[bytes] | None = None
        self._closing = False

    def connected(self) -> None:
        """Tell the protocol so."""
        self._call(self._protocol.connection_made, self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; what is written after the end is lost."""
        if data and not self._closing:
            self.peer.carry(bytes(data))

    def carry(self, data: bytes) -> None:
        """Take bytes that arrive here later, after those that are under way."""
        loop, delay = self._wire.loop, self._wire.host.delay
        self.last_arrival = max(self.last_arrival, loop.time() + (delay() if delay is not None else 0.0))
        self._under_way.append(data)
        if self.last_arrival <= loop.time() and len(self._under_way) == 1:
            loop.call_soon(self._arrive, context=self._context)
        else:
            loop.call_at(self.last_arrival, self._arrive, context=self._context)

    def _arrive(self) -> None:
        if self._closing or not self._under_way:
            return
        data = self._under_way.pop(0)
        repeat = self._wire.host.repeat
        if self is self._wire.client and repeat is not None and repeat():
            data += data
        if self._paused is None:
            self._protocol.data_received(data)
        else:
            self._paused.append(data)

    def take_under_way(self) -> bytes:
        """Return, and lose, what has not arrived."""
        data = b"".join(self._under_way)
        self._under_way.clear()
        return data

    def deliver_now(self, data: bytes) -> None:
        """Let bytes arrive at once."""
        if data and not self._closing and self._paused is None:
            self._call(self._protocol.data_received, data)

    def pause_reading(self) -> None:
        """Keep what arrives."""
        if self._paused is None:
            self._paused = []

    def resume_reading(self) -> None:
        """Deliver what arrived meanwhile, and go on."""
        kept, self._paused = self._paused or [], None
        for data in kept:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        """Return whether this end is closed."""
        return self._closing

    def close(self) -> None:
        """Close both ends; what this end has sent still arrives."""
        self.abort()

    def abort(self) -> None:
        """Likewise."""
        if not self._closing:
            self.end()
            self._wire.loop.call_at(
                max(self.peer.last_arrival, self._wire.loop.time()), self.peer.end, context=Context()
            )

    def end(self) -> None:
        """Close this end only."""
        if not self._closing:
            self._closing = True
            self._wire.loop.call_soon(self._protocol.connection_lost, None, context=self._context or Context())

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._context is None:
            function(*arguments)
        else:
            self._context.run(function, *arguments)


class _WiredPort(_Port):
    """The port of a guest that listens on no socket."""

    __slots__ = ("listening",)

    def __init__(self, guest: SimulatedGuest, clock: Clock) -> None:
        super().__init__(guest, _NOWHERE, clock)
        self.listening = True

    async def open(self) -> None:
        self.listening = True

    async def close(self) -> None:
        self.listening = False
        await super().close()


class WiredHost:
    """Simulated guests that are reached over wires in the process.

    Attributes:
        guests: the guests by name.
        delay: returns how many seconds the next bytes are on their way; None: none.
        repeat: returns whether an agent's next bytes come twice; None: never.

    """

    def __init__(
        self,
        names: Iterable[str],
        behaviour: Behaviour | None = None,
        clock: Clock | None = None,
        *,
        delay: Callable[[], float] | None = None,
        repeat: Callable[[], bool] | None = None,
    ) -> None:
        self.delay = delay
        self.repeat = repeat
        self.guests = {name: SimulatedGuest(name, behaviour, clock) for name in names}
        self._ports = {name: _WiredPort(guest, guest.machine.clock) for name, guest in self.guests.items()}

    async def connect(self, name: str, client: asyncio.Protocol) -> Wire:
        """Return a wire between ``client`` and the agent of a guest; raises `AgentDisconnectedError` when nothing listens there."""
        port = self._ports[name]
        if not port.listening:
            raise AgentDisconnectedError(f"guest {name}: nothing listens for its agent")
        return Wire(client, _Client(port), self, name)

    def resume(self, name: str) -> None:
        """Let a guest's stopped agent go on."""
        self._ports[name].resume()

    async def restart_agent(self, name: str) -> None:
        """End a guest's agent and start a new one; programs run on."""
        port = self._ports[name]
        if port.guest.state == "running":
            port.guest.state = "dead"
            await port.restart()

    async def reset(self, name: str) -> None:
        """Reboot a guest unasked; return when its agent answers again."""
        port = self._ports[name]
        if port.guest.state == "running":
            port.guest.machine.power_off()
            port.guest.state = "rebooting"
            await port.restart()


class _WiredAgent(GuestAgent):
    def __init__(self, host: WiredHost, name: str, wires: list[Wire]) -> None:
        super().__init__(_NOWHERE, name)
        self._host = host
        self._wires = wires

    async def _open(self, deadline: float) -> None:
        stream = _Stream()
        wire = await self._host.connect(self.name, stream)
        self._wires[:] = [each for each in self._wires if not each.client.is_closing()]
        self._wires.append(wire)
        self._transport, self._stream = wire.client, stream


class WiredGuest(Guest):
    """A guest of a `WiredHost`, as a handler uses it. ``wires`` gets every connection that it makes."""

    def __init__(self, host: WiredHost, name: str, clock: Clock, wires: list[Wire] | None = None) -> None:
        super().__init__(_NOWHERE, name, clock)
        self._agent = _WiredAgent(host, name, [] if wires is None else wires)
