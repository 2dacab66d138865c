"""Messages of a stream, in order, without a gap: history first, then live.

One ephemeral pull consumer at a time serves a feed. A pull request asks for thousands of messages; they arrive on a plain
subscription and gather while the caller works on the batch before. A request is bounded in messages and bytes, so a slow caller
holds back the server and never the other way round.

Nothing is taken on trust: the consumer's own numbering must have no hole (else messages were dropped between server and
client), the server must give a sign of life, and after a reconnect the consumer may be gone. In each of these cases the feed
makes a new consumer that begins after the last message it has handed over. What cannot be mended so is raised: a stream that
ends before what was read already has lost its tail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from functools import cache
from secrets import token_hex
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from vmr import contract
from vmr.errors import DataError, InvalidInputError, LogUnavailableError
from vmr.log._connection import Connection
from vmr.log._stream import stream_info
from vmr.log._wire import ApiRefusedError, ConnectionLostError, NoAnswerError
from vmr.messages import Raw, stored_time

_log = structlog.get_logger(__name__)
_CREATE_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 0.05
_PULL_BYTES: Final = 32 * 1024 * 1024
_ENDS_PULL: Final = frozenset({"404", "408"})


class _Definition(msgspec.Struct, frozen=True):
    reader: dict[str, Any]
    pull: dict[str, int]


class _ConsumerInfo(msgspec.Struct, frozen=True):
    name: str
    num_pending: int = 0


class _LostError(Exception):
    """The consumer is gone, or skipped something: make a new one."""


@cache
def _definition() -> _Definition:
    return msgspec.json.decode((contract.streams() / "consumers.json").read_bytes(), type=_Definition)


class Feed:
    """One reader of one stream.

    Args:
        connection: to the server.
        stream: its name.
        filters: subjects to read, wildcards allowed, thousands if need be; None for all.
        start: first sequence to read.
        max_batch: most messages in one batch.

    """

    def __init__(
        self, connection: Connection, stream: str, filters: Sequence[str] | None, start: int, *, max_batch: int = 5000
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._filters = filters
        self._last = start - 1
        self._max_batch = max_batch
        self._begun = False
        self._changed = asyncio.Event()
        connection.watch(self._changed)
        self._consumer = self._inbox = ""
        self._subscription: Subscription | None = None
        self._arrived: list[Raw] = []
        self._number = 0
        self._wanted = 0
        self._pulls = 0
        self._lost: str | None = None

    async def batches(self, *, stop: int | None = None) -> AsyncGenerator[list[Raw], None]:
        """Yield batches for ever; with ``stop``, until that sequence or until nothing is left before it."""
        try:
            while True:
                generation = self._connection.generation
                pending = await self._create_consumer()
                if stop is not None and pending == 0:
                    return
                try:
                    while True:
                        batch = await self._next_batch(generation)
                        wanted = batch if stop is None else [raw for raw in batch if raw.sequence <= stop]
                        if wanted:
                            yield wanted
                        if stop is not None and (self._last >= stop or batch[-1].pending == 0):
                            return
                except (_LostError, ConnectionLostError) as lost:
                    _log.info("reader begins again", stream=self._stream, after=self._last, reason=str(lost))
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Let the server forget the consumer at once; it would by itself after a while."""
        subscription, self._subscription = self._subscription, None
        if subscription is None or self._connection.client.is_closed:
            return
        with contextlib.suppress(LogUnavailableError):
            self._connection.client.forget(subscription)
            await subscription.unsubscribe()
            await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}")

    async def _create_consumer(self) -> int:
        """Make the consumer, as often as the connection is lost meanwhile; return how many messages it has to send."""
        while True:
            await self._leave()
            await self._until_connected()
            try:
                await self._subscribe()
                await self._check_ends()
                return await self._request_consumer()
            except (ConnectionLostError, NoAnswerError) as lost:
                _log.info("reader waits for the server", stream=self._stream, reason=str(lost))

    async def _until_connected(self) -> None:
        while True:
            try:
                await self._connection.until_connected(timeout=30.0)
            except ConnectionLostError as lost:
                _log.warning("reader waits for the server", stream=self._stream, reason=str(lost))
            else:
                return

    async def _subscribe(self) -> None:
        self._arrived, self._number, self._wanted, self._lost = [], 0, 0, None
        self._consumer = f"reader-{token_hex(8)}"
        self._inbox = self._connection.client.new_inbox()
        self._subscription = await self._connection.client.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=8 * self._max_batch, pending_bytes_limit=0
        )
        self._connection.client.hand_over(self._subscription, self._on_data)

    async def _check_ends(self) -> None:
        info = await stream_info(self._connection, self._stream)
        if info is None:
            raise LogUnavailableError(f"stream {self._stream} is gone from {self._connection.address}")
        if info.state.last_seq < self._last:
            raise DataError(
                f"stream {self._stream} ends at {info.state.last_seq} but {self._last} was read from it before: the server "
                "lost acknowledged events; rebuild what was made of them from sequence 1"
            )
        if not self._begun:
            self._last = max(self._last, info.state.first_seq - 1)

    async def _request_consumer(self) -> int:
        config = _definition().reader | {"name": self._consumer, "opt_start_seq": self._last + 1}
        if self._filters is not None:
            config["filter_subjects"] = list(self._filters)
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        size = len(msgspec.json.encode(body))
        if size > self._connection.max_payload:
            raise InvalidInputError(
                f"{len(self._filters or ()):,} filters take {size:,} bytes and the server takes "
                f"{self._connection.max_payload:,}: use wildcards or several readers"
            )
        subject = f"CONSUMER.CREATE.{self._stream}.{self._consumer}"
        try:
            info = await self._connection.api(subject, body, answer=_ConsumerInfo, timeout=_CREATE_SECONDS)
        except ApiRefusedError as refusal:
            raise InvalidInputError(f"the server cannot read so: {refusal}") from refusal
        return info.num_pending

    async def _next_batch(self, generation: int) -> list[Raw]:
        while True:
            if self._wanted <= 0 and len(self._arrived) < self._max_batch:
                await self._pull()
            await self._until_batch(generation)
            if self._arrived:
                break
        batch, self._arrived = self._arrived[: self._max_batch], self._arrived[self._max_batch :]
        if self._filters is None:
            self._check_whole(batch)
        self._begun, self._last = True, batch[-1].sequence
        return batch

    def _check_whole(self, batch: list[Raw]) -> None:
        if batch[-1].sequence - self._last != len(batch):
            raise DataError(
                f"stream {self._stream} has a hole between {self._last} and {batch[-1].sequence}: events were removed from it; "
                "what was made of them cannot be trusted any more"
            )

    @property
    def _reply_subject(self) -> str:
        """Where the messages of the last pull request go, and what the server says about it."""
        return f"{self._inbox}.{self._pulls}"

    async def _pull(self) -> None:
        self._wanted = 4 * self._max_batch
        self._pulls += 1
        limit = max(_PULL_BYTES, 2 * self._connection.max_payload)
        request = _definition().pull | {"batch": self._wanted, "max_bytes": limit}
        await self._connection.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            msgspec.json.encode(request),
            reply=self._reply_subject,
        )

    async def _until_batch(self, generation: int) -> None:
        silence = 2.5 * _definition().pull["idle_heartbeat"] / 1e9
        while True:
            self._connection.raise_if_closed()
            if self._connection.generation != generation:
                raise _LostError("the connection was lost")
            if self._lost is not None and not self._arrived:
                raise _LostError(self._lost)
            if self._lost is not None or len(self._arrived) >= self._max_batch or self._wanted <= 0:
                return
            # While more is on its way a larger batch is cheaper; when nothing is, what is here goes on at once.
            if self._arrived and self._arrived[-1].pending == 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(_SETTLE_SECONDS if self._arrived else silence):
                    await self._changed.wait()
            except TimeoutError:
                if not self._arrived:
                    raise _LostError(f"no sign of life for {silence:g} s") from None
                return

    async def _on_message(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            headers = "".join(f"\r\n{name}: {value}" for name, value in (message.headers or {}).items())
            self._on_data(message.subject.encode(), message.reply.encode(), message.data, headers.encode())
        else:
            self._on_status(message.headers or {}, of_this_pull=message.subject == self._reply_subject)
            self._changed.set()

    def _on_data(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        tokens = reply.decode().split(".")
        # Newer servers put domain and account before the stream, and a random token at the end.
        first = 2 if len(tokens) == 9 else 4
        self._changed.set()
        if self._lost is not None or tokens[first + 1] != self._consumer:
            return
        self._number += 1
        if int(tokens[first + 4]) != self._number:
            self._lost = f"message {self._number} of the consumer did not arrive"
            return
        self._wanted -= 1
        stored = stored_time(headers, int(tokens[first + 5]))
        self._arrived.append(Raw(int(tokens[first + 3]), stored, subject.decode(), data, int(tokens[first + 6])))

    def _on_status(self, headers: dict[str, str], *, of_this_pull: bool) -> None:
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        if status in _ENDS_PULL or (status == "409" and ("Batch" in description or "MaxBytes" in description)):
            # That one has sent all that was asked for is told after its last message, when the next one may be under way already.
            if of_this_pull:
                self._wanted = 0
        elif self._lost is None:
            self._lost = f"{status} {description}".strip() or "an answer without a meaning"
