"""Group commit: many callers' events, in the order of their calls, in few durable writes.

One message costs one synchronous write of the server; an atomic batch of up to 1,000 costs one as well. So while a write is
under way, what is published meanwhile gathers, and goes out together in the next. A lone event goes out at once by itself.

- **Order.** One write is under way at a time: sequences follow the order of the calls, whatever fails and is repeated between.
- **Once.** The event's id is the message id. When an answer is lost the same ids are sent again; what landed the first time is
  recognised by the server, and its sequence found.
- **Whole.** The events of one call (up to 1,000) are in one batch: all of them land, or none.
- **Alone.** A batch is refused whole, also for a reason that lies in one caller's event (a conflict, a repeated id). Then each
  call is sent by itself, and each caller gets its own answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import stamina
import structlog
import uuid_utils

from vmr.errors import ConflictError, EventTooLargeError, InvalidInputError, PublishError
from vmr.log._connection import (
    ApiError,
    ApiRefusedError,
    Connection,
    ConnectionLostError,
    NoAnswerError,
    NobodyListensError,
)

_log = structlog.get_logger(__name__)

MAX_BATCH: Final = 1000
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
_ACK_SECONDS: Final = 5.0
# Our headers take at most this much of the server's payload limit.
_HEADER_ROOM: Final = 320
# The server cuts a protocol line at 4,096 bytes; a reader's line holds the subject and more.
_MAX_SUBJECT: Final = 1500

_DUPLICATE: Final = 10201
_CONFLICTS: Final = frozenset({10071, 10164})
# An incomplete batch (the server forgot it), JetStream or its leader being away for a moment.
_PASSING: Final = frozenset({10008, 10009, 10176, 10208})


class Outgoing(msgspec.Struct, frozen=True):
    """A message to publish. ``expected``: the last sequence that its subject must have, 0 for none; None for any."""

    subject: str
    payload: bytes
    id: str
    expected: int | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of this message outside of a batch."""
        headers = {"Nats-Msg-Id": self.id}
        if self.expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.expected)
        return headers


class _Ack(msgspec.Struct, frozen=True):
    seq: int = 0
    error: ApiError | None = None


class _Stored(msgspec.Struct, frozen=True):
    seq: int
    hdrs: bytes = b""


class _StoredAnswer(msgspec.Struct, frozen=True):
    message: _Stored


class _RefusedError(Exception):
    def __init__(self, error: ApiError) -> None:
        super().__init__(error.description)
        self.error = error


class _PassingError(Exception):
    """The server says no for a moment."""


_RETRIED: Final = (ConnectionLostError, NoAnswerError, NobodyListensError, _PassingError)


class _Call(msgspec.Struct, eq=False):
    """What one caller wants published, and where the answer goes."""

    messages: Sequence[Outgoing]
    answer: asyncio.Future[list[int]]
    size: int
    asked: float


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Publisher:
    """The writing side of one connection.

    Args:
        connection: to the server.
        stream: name of the stream.
        patience: seconds without any progress after which an event that the server has not acknowledged is given up.

    """

    def __init__(self, connection: Connection, stream: str, *, patience: float = 30.0) -> None:
        self.last_sequence = 0
        self._connection = connection
        self._stream = stream
        self._patience = patience
        self._calls: deque[_Call] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._progress = 0.0
        self._task = asyncio.create_task(self._run(), name=f"publisher of {stream}")

    def check(self, message: Outgoing) -> None:
        """Raise `EventTooLargeError` or `InvalidInputError`, naming the event, when the server could not take ``message``."""
        size, limit = len(message.payload) + _HEADER_ROOM, self._connection.max_payload
        if size > limit:
            raise EventTooLargeError(
                f"the event on {message.subject[:200]} takes {size:,} bytes and the server takes {limit:,} at most: put its large "
                "part into the object store"
            )
        if len(message.subject) > _MAX_SUBJECT:
            raise InvalidInputError(
                f"the name in {message.subject[:80]}… makes a subject of {len(message.subject):,} bytes, and "
                f"{_MAX_SUBJECT:,} is the limit: shorten the name"
            )

    async def publish(self, messages: Sequence[Outgoing]) -> list[int]:
        """Return the sequences of ``messages`` when the server has them on disk.

        A caller that is cancelled before its turn publishes nothing; after that the events may be stored. Raises
        `ConflictError` and `PublishError`.
        """
        if self._closing:
            raise PublishError("this connection was closed; nothing was published")
        if not messages:
            return []
        pieces = [messages[start : start + MAX_BATCH] for start in range(0, len(messages), MAX_BATCH)]
        answers = [self._enqueue(piece) for piece in pieces]
        self._work.set()
        try:
            return [sequence for answer in answers for sequence in await answer]
        finally:
            for answer in answers:
                _drop(answer)

    def _enqueue(self, messages: Sequence[Outgoing]) -> asyncio.Future[list[int]]:
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        size = sum(len(message.payload) for message in messages)
        self._calls.append(_Call(messages, answer, size, time.monotonic()))
        return answer

    async def close(self) -> None:
        """Publish what was asked for already, then stop."""
        self._closing = True
        self._work.set()
        await self._task

    async def _run(self) -> None:
        while not (self._closing and not self._calls):
            await self._work.wait()
            self._work.clear()
            while calls := self._next_calls():
                await self._settle(calls)

    def _next_calls(self) -> list[_Call]:
        calls: list[_Call] = []
        count = size = 0
        while self._calls:
            call = self._calls[0]
            if call.answer.done():
                self._calls.popleft()
                continue
            count, size = count + len(call.messages), size + call.size
            if calls and (count > MAX_BATCH or size > _MAX_BATCH_BYTES):
                break
            calls.append(self._calls.popleft())
        return calls

    async def _settle(self, calls: list[_Call]) -> None:
        try:
            sequences = await self._persist([message for call in calls for message in call.messages], calls)
        except _RefusedError as refusal:
            if len(calls) == 1:
                await self._settle_alone(calls[0], refusal.error)
                return
            for call in calls:
                await self._settle([call])
        except Exception as error:  # noqa: BLE001 (whatever it is, it is each caller's, and the next calls go on)
            for call in calls:
                _fail(call, error)
        else:
            position = 0
            for call in calls:
                self._succeed(call, sequences[position : position + len(call.messages)])
                position += len(call.messages)

    async def _settle_alone(self, call: _Call, error: ApiError) -> None:
        try:
            if len(call.messages) > 1 and error.err_code == _DUPLICATE:
                self._succeed(call, await self._one_by_one(call))
            elif error.err_code in _CONFLICTS:
                self._succeed(call, await self._find(call, error))
            else:
                _fail(call, PublishError(f"the server refuses it: {error.description} ({error.err_code})"))
        except _RefusedError as refusal:
            _fail(call, PublishError(f"the server refuses it: {refusal.error.description} ({refusal.error.err_code})"))
        except Exception as failure:  # noqa: BLE001 (it is the caller's)
            _fail(call, failure)

    async def _one_by_one(self, call: _Call) -> list[int]:
        # What has landed answers with the sequence it has; what has not lands now.
        return [(await self._persist([message], [call]))[0] for message in call.messages]

    async def _find(self, call: _Call, error: ApiError) -> list[int]:
        # The server compares the expectation before it looks for repeats: this conflict may be with our own first try.
        sequences = [await self._landed(message) for message in call.messages]
        if any(sequence is None for sequence in sequences):
            subjects = ", ".join(message.subject for message in call.messages if message.expected is not None)
            raise ConflictError(
                f"somebody else wrote to {subjects} first ({error.description}): read again, then retry"
            )
        return [sequence for sequence in sequences if sequence is not None]

    async def _landed(self, message: Outgoing) -> int | None:
        wanted = {"seq": (message.expected or 0) + 1, "next_by_subj": message.subject}
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", wanted, answer=_StoredAnswer)
        except ApiRefusedError:
            return None
        return answer.message.seq if message.id.encode() in answer.message.hdrs else None

    def _succeed(self, call: _Call, sequences: list[int]) -> None:
        self.last_sequence = max(self.last_sequence, *sequences)
        if not call.answer.done():
            call.answer.set_result(sequences)

    async def _persist(self, messages: list[Outgoing], calls: list[_Call]) -> list[int]:
        try:
            return await self._send(messages)
        except _RETRIED as error:
            _log.warning("publishing again", events=len(messages), reason=str(error))
        waited = time.monotonic() - max(self._progress, min(call.asked for call in calls))
        left = max(self._patience - waited, 0.1)
        retries = stamina.retry_context(
            on=_RETRIED, attempts=None, timeout=left, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
        )
        try:
            async for attempt in retries:
                with attempt:
                    await self._connection.until_connected(left)
                    return await self._send(messages)
        except _RETRIED as error:
            raise PublishError(
                f"{len(messages)} event(s) were not acknowledged within {self._patience:g} s and may or may not be stored: {error}"
            ) from error
        raise AssertionError("the retries either return or raise")

    async def _send(self, messages: list[Outgoing]) -> list[int]:
        last = await (self._send_one(messages[0]) if len(messages) == 1 else self._send_batch(messages))
        self._progress = time.monotonic()
        return list(range(last - len(messages) + 1, last + 1))

    async def _send_one(self, message: Outgoing) -> int:
        return await self._commit(message, message.headers())

    async def _send_batch(self, messages: list[Outgoing]) -> int:
        batch = str(uuid_utils.uuid7())
        for number, message in enumerate(messages[:-1], 1):
            headers = message.headers() | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await self._connection.send(message.subject, message.payload, headers=headers)
        end = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        return await self._commit(messages[-1], messages[-1].headers() | end)

    async def _commit(self, message: Outgoing, headers: dict[str, str]) -> int:
        answer = await self._connection.request(message.subject, message.payload, headers=headers, timeout=_ACK_SECONDS)
        ack = _decode_ack(answer.data)
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in _PASSING:
            raise _PassingError(ack.error.description)
        raise _RefusedError(ack.error)


def _drop(answer: asyncio.Future[list[int]]) -> None:
    # Nobody waits for it any more; an error in it is not to be reported as forgotten.
    if not answer.cancel() and not answer.cancelled():
        answer.exception()


def _fail(call: _Call, error: Exception) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)
