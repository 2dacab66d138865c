"""One durable write after another: a message, or many in one atomic batch, repeated until the server has it or time is up.

The batch protocol (NATS ADR-50): every message carries the batch's id and its number in it; the last one says "commit" and is the
only one that is answered. The server keeps the batch in memory until then and stores all of it, or nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
import stamina
import structlog
import uuid_utils

from vmr.errors import PublishError
from vmr.eventlog import Fence
from vmr.log._connection import Connection
from vmr.log._wire import ApiError, ApiRefusedError, ConnectionLostError, NoAnswerError, NobodyListensError
from vmr.messages import STORED_HEADER

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

DUPLICATE: Final = 10201
CONFLICTS: Final = frozenset({10071, 10164})
_ACK_SECONDS: Final = 5.0
# An incomplete batch (the server forgot it), JetStream or its leader being away for a moment.
_PASSING: Final = frozenset({10008, 10009, 10176, 10208})


class Outgoing(msgspec.Struct, frozen=True):
    """A message to publish. ``expected``: the last sequence that its subject must have, 0 for none; None for any.

    ``fence``: the last sequence that another subject must have, which this message is not on; only one of both is possible.
    ``stored``: for a copy, when the original was stored (ns since the epoch). ``after``: the last sequence that the whole stream must
    have; for the first message of a batch only.
    """

    subject: str
    payload: bytes
    id: str
    expected: int | None = None
    fence: Fence | None = None
    stored: int | None = None
    after: int | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of this message outside of a batch."""
        headers = {"Nats-Msg-Id": self.id}
        if self.expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.expected)
        elif self.fence is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.fence.sequence)
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = self.fence.subject
        if self.stored is not None:
            headers[STORED_HEADER] = str(self.stored)
        if self.after is not None:
            headers["Nats-Expected-Last-Sequence"] = str(self.after)
        return headers


class RefusedError(Exception):
    """The server will not store this, however often it is asked."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(f"{error.description} ({error.err_code})")
        self.error = error


class _PassingError(Exception):
    """The server says no for a moment."""


_RETRIED: Final = (ConnectionLostError, NoAnswerError, NobodyListensError, _PassingError)


class _Ack(msgspec.Struct, frozen=True):
    seq: int = 0
    error: ApiError | None = None


class _Stored(msgspec.Struct, frozen=True):
    seq: int
    hdrs: bytes = b""


class _StoredAnswer(msgspec.Struct, frozen=True):
    message: _Stored


_decode_ack = msgspec.json.Decoder(_Ack).decode


class Writer:
    """Writes to one stream. Only one write may be under way at a time, or their order is not that of the calls.

    Args:
        connection: to the server.
        stream: name of the stream.
        patience: seconds without any progress after which a write is given up.

    """

    def __init__(self, connection: Connection, stream: str, patience: float) -> None:
        self.patience = patience
        self._connection = connection
        self._stream = stream
        self._progress = 0.0

    async def write(self, messages: Sequence[Outgoing], asked: float) -> list[int]:
        """Return the sequences of ``messages``, which were asked for at the monotonic time ``asked``, when they are on disk.

        More than one message are stored all or none. Raises `RefusedError`, and `PublishError` when patience is over.
        """
        last = await self._insist(lambda: self._send(messages), asked, f"{len(messages)} event(s)")
        self._progress = time.monotonic()
        return list(range(last - len(messages) + 1, last + 1))

    async def write_each(self, messages: Sequence[Outgoing], asked: float) -> list[int | Exception]:
        """Send ``messages`` right after one another, each by itself; return the sequence of each, or its error.

        A lost connection cuts them at one point: what was not answered is sent again one by one, in order.
        """
        first = await asyncio.gather(*(self._send([message]) for message in messages), return_exceptions=True)
        outcomes: list[int | Exception] = []
        for message, outcome in zip(messages, first, strict=True):
            if isinstance(outcome, int):
                outcomes.append(outcome)
            elif isinstance(outcome, _RETRIED):
                outcomes.append(await self._write_alone(message, asked))
            elif isinstance(outcome, Exception):
                outcomes.append(outcome)
            else:
                raise outcome
        self._progress = time.monotonic()
        return outcomes

    async def _write_alone(self, message: Outgoing, asked: float) -> int | Exception:
        try:
            return (await self.write([message], asked))[0]
        except Exception as error:  # noqa: BLE001 (it is returned to whom it concerns)
            return error

    async def find(self, message: Outgoing, asked: float) -> int | None:
        """Return the sequence of ``message`` if it is the one that was stored where it expected to be, else None."""
        return await self._insist(lambda: self._look(message), asked, message.subject)

    async def _insist(self, work: Callable[[], Awaitable[_T]], asked: float, what: str) -> _T:
        try:
            return await work()
        except _RETRIED as error:
            _log.warning("trying again", what=what, reason=str(error))
        left = max(self.patience - (time.monotonic() - max(self._progress, asked)), 0.1)
        retries = stamina.retry_context(
            on=_RETRIED, attempts=None, timeout=left, wait_initial=0.02, wait_max=1.0, wait_jitter=0.1
        )
        try:
            async for attempt in retries:
                with attempt:
                    await self._connection.until_connected(left)
                    return await work()
        except _RETRIED as error:
            raise PublishError(
                f"{what} not acknowledged within {self.patience:g} s, may or may not be stored: {error}"
            ) from error
        raise AssertionError("the retries either return or raise")

    async def _send(self, messages: Sequence[Outgoing]) -> int:
        *front, last = messages
        if not front:
            return await self._commit(last, last.headers())
        batch = str(uuid_utils.uuid7())
        for number, message in enumerate(front, 1):
            headers = message.headers() | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            await self._connection.send(message.subject, message.payload, headers=headers)
        end = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        return await self._commit(last, last.headers() | end)

    async def _commit(self, message: Outgoing, headers: dict[str, str]) -> int:
        answer = await self._connection.request(message.subject, message.payload, headers=headers, timeout=_ACK_SECONDS)
        ack = _decode_ack(answer)
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in _PASSING:
            raise _PassingError(ack.error.description)
        raise RefusedError(ack.error)

    async def _look(self, message: Outgoing) -> int | None:
        wanted = {"seq": (message.expected or 0) + 1, "next_by_subj": message.subject}
        try:
            answer = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", wanted, answer=_StoredAnswer)
        except ApiRefusedError:
            return None
        return answer.message.seq if message.id.encode() in answer.message.hdrs else None
