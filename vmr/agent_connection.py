"""One connection to a guest agent's Unix socket: sends a command, waits for its reply, stays in step.

The agent serves one client at a time, and one command at a time. Commands of several tasks queue here, first come first
served. Time-outs are seconds of real time, because a socket knows no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from vmr.agent_protocol import SMALL_REPLY, Session, decode
from vmr.errors import AgentDisconnectedError, AgentTimeoutError, GuestError

TIMEOUT: Final = 10.0
"""Seconds for a command that moves little."""

_BUSY_PAUSE: Final = 0.02
"""Seconds between two tries to connect to a socket whose queue of clients is full."""

_SYNC_TRIES: Final = 3
"""How often a guest that talks unasked is synchronized with before a command is given up."""

_SYNC: Final = "guest-sync-delimited"

_Result = TypeVar("_Result")


class _Stream(asyncio.Protocol):
    """Feeds a session with what arrives, and ends the wait for a reply: True if it came, False if the socket closed."""

    def __init__(self) -> None:
        self.session = Session()
        self.reply: asyncio.Future[bool] | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if self.session.receive(data):
            self._answer(arrived=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._answer(arrived=False)

    def _answer(self, *, arrived: bool) -> None:
        if self.reply is not None and not self.reply.done():
            self.reply.set_result(arrived)


class AgentConnection:
    """A connection that can be lost and made again; the commands themselves are those of `vmr.agent.GuestAgent`."""

    def __init__(self, path: Path | str, name: str = "") -> None:
        """Prepare, without any I/O; ``path`` is the agent's Unix socket, ``name`` what messages call the guest."""
        self.path = Path(path)
        self.name = name or self.path.name
        self._lock = asyncio.Lock()
        self._transport: asyncio.Transport | None = None
        self._stream: _Stream | None = None

    @property
    def connected(self) -> bool:
        """Whether the socket is open. In a virtual machine that says nothing about the agent."""
        return self._stream is not None and not self._stream.closed.done()

    async def connect(self, timeout: float = 5.0) -> None:
        """Open the socket, unless it is open, and synchronize with the agent.

        Raises `AgentDisconnectedError` when nothing listens, `AgentTimeoutError` when the agent does not answer within
        ``timeout`` seconds; the socket then stays open, and the next command synchronizes first.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        async with self._lock:
            if not self.connected:
                await self._open(deadline)
            await self._sync(max(deadline - loop.time(), 0.001))

    async def close(self, timeout: float = 1.0) -> None:
        """Close the socket, after the command in flight and after every reply has been read.

        A reply left unread would kill an agent that listens on a Unix socket, and reach the next client of one in a
        virtual machine. Waits ``timeout`` seconds for an agent that does not answer, then closes all the same.
        """
        async with self._lock:
            if self._transport is None or self._stream is None:
                return
            try:
                if self.connected and not self._stream.session.synced:
                    with contextlib.suppress(GuestError):  # what does not answer cannot be drained
                        await self._sync(timeout)
            finally:
                self._transport.abort()
            await self._stream.closed
            self._transport = self._stream = None

    async def wait_disconnected(self) -> None:
        """Return when the socket is closed: the agent or its virtual machine has ended, or `close` was called."""
        if self._stream is not None:
            await asyncio.shield(self._stream.closed)

    async def sync(self, timeout: float = 5.0) -> None:
        """Synchronize with the agent now. Raises `AgentTimeoutError` or `AgentDisconnectedError`."""
        async with self._lock:
            await self._sync(timeout)

    async def exchange(self, command: str, arguments: Any, timeout: float, limit: int = SMALL_REPLY) -> msgspec.Raw:
        """Send ``command`` and return its reply, of at most ``limit`` bytes, within ``timeout`` seconds of sending it.

        Raises `AgentError` for the agent's own refusal, `AgentTimeoutError` when the reply does not come (the command
        may have run, or may still run), `AgentDisconnectedError` when the socket is or gets closed, `GuestError` for a
        reply that is none.
        """
        async with self._lock:
            stream = await self._ready(command, timeout)
            return await self._round_trip(stream, command, stream.session.begin(command, arguments, limit), timeout)

    async def tell(self, command: str, arguments: Any, grace: float) -> None:
        """Send a command whose success is not answered; return after ``grace`` seconds or when the socket closes.

        Raises `AgentError` for a refusal, and what `exchange` raises when the command could not be sent.
        """
        async with self._lock:
            stream = await self._ready(command, TIMEOUT)
            request = stream.session.begin(command, arguments)
            with contextlib.suppress(AgentTimeoutError, AgentDisconnectedError):
                await self._round_trip(stream, command, request, grace)
            stream.session.synced = False

    async def request(
        self, command: str, arguments: Any, kind: type[_Result], timeout: float = TIMEOUT, limit: int = SMALL_REPLY
    ) -> _Result:
        """Do as `exchange`, and return the reply as ``kind``; raises `GuestError` when it is something else."""
        return decode(command, await self.exchange(command, arguments, timeout, limit), kind)

    async def _ready(self, command: str, timeout: float) -> _Stream:
        stream = self._require(command)
        for _ in range(_SYNC_TRIES):
            if stream.session.synced:
                return stream
            await self._sync(timeout)
        if not stream.session.synced:
            raise GuestError(f"guest {self.name}: {command}: the agent sends replies that nobody asked for")
        return stream

    async def _sync(self, timeout: float) -> None:
        stream = self._require(_SYNC)
        await self._round_trip(stream, _SYNC, stream.session.begin_sync(), timeout)

    def _require(self, command: str) -> _Stream:
        if self._stream is None or self._stream.closed.done():
            raise AgentDisconnectedError(f"guest {self.name}: {command}: not connected to {self.path}")
        return self._stream

    async def _round_trip(self, stream: _Stream, command: str, request: bytes, timeout: float) -> msgspec.Raw:
        assert self._transport is not None
        stream.reply = asyncio.get_running_loop().create_future()
        arrived = False
        try:
            self._transport.write(request)
            async with asyncio.timeout(timeout):
                arrived = await stream.reply
        except TimeoutError:
            raise AgentTimeoutError(
                f"guest {self.name}: {command}: no reply within {timeout:.3g} s; the guest may be booting, "
                "its agent stopped or busy, or another client may hold the connection"
            ) from None
        finally:
            stream.reply = None
            if not arrived:
                stream.session.abandon()
        if not arrived:
            raise AgentDisconnectedError(f"guest {self.name}: {command}: the agent's socket closed before the reply")
        return stream.session.take()

    async def _open(self, deadline: float) -> None:
        """Connect by hand: asyncio takes EAGAIN, a Unix socket's answer when its queue is full, for a connection."""
        loop = asyncio.get_running_loop()
        while (sock := self._try_open()) is None:
            if loop.time() >= deadline:
                raise AgentTimeoutError(
                    f"guest {self.name}: {self.path} is busy: one client holds its agent and others wait; stop them"
                )
            await asyncio.sleep(_BUSY_PAUSE)
        self._transport, self._stream = await loop.create_unix_connection(_Stream, sock=sock)

    def _try_open(self) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self.path))
        except BlockingIOError:
            sock.close()
            return None
        except OSError as error:
            sock.close()
            reason = errno.errorcode.get(error.errno or 0, str(error))
            raise AgentDisconnectedError(f"guest {self.name}: cannot connect to {self.path}: {reason}") from error
        return sock
