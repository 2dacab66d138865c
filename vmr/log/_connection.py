"""One connection to a NATS server that can be trusted with a log.

It works around what nats-py leaves to its users: the first connection fails at once and says why; a lost server is looked for
without end, and whoever waits for an answer learns of the loss at once instead of at a time-out; a read loop that died is
noticed within seconds; the client's silent errors are logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from weakref import WeakSet

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from vmr.errors import JetStreamMissingError, LogUnavailableError
from vmr.log._client import HistoryClient
from vmr.log._wire import Address, ApiError, ApiRefusedError, ConnectionLostError, NoAnswerError, NobodyListensError

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_CONNECT_SECONDS: Final = 5.0
_API: Final = "$JS.API"


class _Outcome(msgspec.Struct, frozen=True):
    error: ApiError | None = None


class Connection:
    """A connection that stays. Make one with `Connection.open`."""

    def __init__(self, client: HistoryClient, address: Address) -> None:
        self.client = client
        self.address = address
        self.generation = 0
        self._connected = asyncio.Event()
        self._connected.set()
        self._closed: LogUnavailableError | None = None
        self._replies: dict[str, asyncio.Future[bytes | None]] = {}
        self._inbox = client.new_inbox()
        self._counter = 0
        self._subscription: Subscription | None = None
        self._watchers: WeakSet[asyncio.Event] = WeakSet()

    @classmethod
    async def open(cls, address: Address, *, name: str) -> Connection:
        """Return a connection to the first server of ``address`` that answers.

        Raises `ServerNotFoundError`, `CredentialError` or `LogUnavailableError` within seconds.
        """
        client = HistoryClient()
        connection = cls(client, address)
        await connection._dial(name)
        connection._subscription = await client.subscribe(f"{connection._inbox}.*", cb=connection._on_message)
        client.hand_answers_over(connection._subscription, connection._on_answer)
        return connection

    async def _dial(self, name: str) -> None:
        failures: list[Exception] = []
        dialling = True

        async def on_error(error: Exception) -> None:
            if not dialling:
                # While the server is away every look for it is an error; that it is away was said once.
                say = _log.debug if self.client.is_reconnecting else _log.warning
                say("nats", error=str(error) or type(error).__name__, server=str(self.address))
                self._follow_server()
                return
            failures.append(error)
            if len(failures) >= len(self.address.servers):
                raise error

        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self.client.connect(
                    **self.address.options(),
                    name=name,
                    error_cb=on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    connect_timeout=3,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,  # type: ignore[arg-type]
                    ping_interval=10,
                    pending_size=8 * 1024 * 1024,
                )
        except (OSError, TimeoutError, nats.errors.Error, ssl.SSLError, ImportError, ValueError) as error:
            await self._discard()
            raise self.address.explain([error, *failures]) from error
        dialling = False

    def _follow_server(self) -> None:
        moved = self.address.current()
        if moved != self.address and not self.client.is_closed:
            _log.warning("the server has moved", was=str(self.address), now=str(moved))
            self.address = moved
            self.client.options |= {"user": moved.user, "password": moved.password}
            self.client.set_server_pool(list(moved.servers))

    async def _discard(self) -> None:
        with contextlib.suppress(OSError, nats.errors.Error, AssertionError):
            await self.client.close()

    async def _on_disconnected(self) -> None:
        if self.client.is_closed:
            return
        self._connected.clear()
        _log.warning("connection lost", server=str(self.address))
        self._fail_replies(ConnectionLostError(f"the connection to {self.address} was lost"))

    async def _on_reconnected(self) -> None:
        self.generation += 1
        self._connected.set()
        self._wake()
        _log.info("connected again", server=str(self.address))

    async def _on_closed(self) -> None:
        reason = self.client.last_error
        self._closed = LogUnavailableError(
            f"the connection to {self.address} is closed{f': {reason}' if reason else ''}"
        )
        self._connected.set()
        self._wake()
        self._fail_replies(self._closed)

    def watch(self, event: asyncio.Event) -> None:
        """Set ``event`` whenever the connection is there again (see `generation`) or is closed for good."""
        self._watchers.add(event)

    def _wake(self) -> None:
        for event in self._watchers:
            event.set()

    def _fail_replies(self, error: Exception) -> None:
        waiting, self._replies = self._replies, {}
        for reply in waiting.values():
            if not reply.done():
                reply.set_exception(error)

    async def _on_message(self, message: Msg) -> None:
        nobody = message.headers is not None and message.headers.get("Status") == "503"
        self._on_answer(message.subject.encode(), None if nobody else message.data)

    def _on_answer(self, subject: bytes, content: bytes | None) -> None:
        reply = self._replies.pop(subject.decode(), None)
        if reply is not None and not reply.done():
            reply.set_result(content)

    @property
    def max_payload(self) -> int:
        """Bytes that one message may have, headers counted."""
        return self.client.max_payload

    def raise_if_closed(self) -> None:
        """Raise `LogUnavailableError` when this connection was closed for good."""
        if self._closed is not None:
            raise self._closed

    async def until_connected(self, timeout: float) -> None:
        """Return when the server is there; raise `ConnectionLostError` after ``timeout`` seconds."""
        if not self._connected.is_set():
            try:
                await asyncio.wait_for(self._connected.wait(), timeout)
            except TimeoutError:
                raise ConnectionLostError(f"no server at {self.address} for {timeout:.3g} s") from None
        self.raise_if_closed()

    async def send(
        self, subject: str, payload: bytes = b"", *, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Publish without waiting for an answer; raise `ConnectionLostError` when there is no server to publish to."""
        if not self._connected.is_set():
            # nats-py would keep it and send it whenever the server is back, long after its sender gave up.
            raise ConnectionLostError(f"the connection to {self.address} was lost")
        try:
            await self.client.publish(subject, payload, reply=reply, headers=None if headers is None else dict(headers))
        except nats.errors.ConnectionClosedError:
            self.raise_if_closed()
            raise
        except nats.errors.OutboundBufferLimitError:
            raise ConnectionLostError(f"the connection to {self.address} was lost") from None

    async def request(
        self, subject: str, payload: bytes = b"", *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Publish and return the answer's content, waiting at most ``timeout`` seconds for it.

        Raises `ConnectionLostError`, `NoAnswerError` or `NobodyListensError`.
        """
        self.raise_if_closed()
        self._counter += 1
        inbox = f"{self._inbox}.{self._counter}"
        reply: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._replies[inbox] = reply
        try:
            async with asyncio.timeout(timeout):
                await self.send(subject, payload, headers=headers, reply=inbox)
                content = await reply
        except TimeoutError:
            raise NoAnswerError(f"no answer from {self.address} on {subject} within {timeout:g} s") from None
        finally:
            self._replies.pop(inbox, None)
        if content is None:
            raise NobodyListensError(f"nobody listens on {subject} at {self.address}")
        return content

    async def api(
        self, name: str, payload: Any = None, *, answer: type[_T], timeout: float = 10.0, patience: float = 15.0
    ) -> _T:
        """Ask JetStream something that may be asked twice; ``name`` is the subject after ``$JS.API.``.

        When the connection is lost meanwhile it waits up to ``patience`` seconds for another and asks again. Raises
        `ApiRefusedError`, `JetStreamMissingError` and what `request` raises.
        """
        body = b"" if payload is None else msgspec.json.encode(payload)
        try:
            content = await self._request_again(f"{_API}.{name}", body, timeout, patience)
        except NobodyListensError:
            raise JetStreamMissingError(
                f"the server at {self.address} keeps no streams: start it with JetStream (`nats-server -js`), or give "
                "this account the use of it"
            ) from None
        error = msgspec.json.decode(content, type=_Outcome).error
        if error is not None and error.err_code in {10039, 10076}:
            raise JetStreamMissingError(f"JetStream at {self.address}: {error.description}; enable it for this account")
        if error is not None:
            raise ApiRefusedError(name, error)
        return msgspec.json.decode(content, type=answer)

    async def _request_again(self, subject: str, body: bytes, timeout: float, patience: float) -> bytes:
        deadline = time.monotonic() + patience
        while True:
            try:
                return await self.request(subject, body, timeout=timeout)
            except ConnectionLostError:
                if time.monotonic() >= deadline:
                    raise
                await self.until_connected(deadline - time.monotonic())

    async def close(self) -> None:
        """Close the connection; waiting requests fail."""
        if self.client.is_closed:
            return
        with contextlib.suppress(OSError, nats.errors.Error):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            # While the server is away this fails half-way, with nothing left to close.
            await self.client.close()
        if self._closed is None:
            await self._on_closed()
