"""Group commit: many callers' events, in the order of their calls, in few durable writes.

One message costs one synchronous write of the server; an atomic batch of up to 1,000 costs about as much as a dozen of them. So
while a write is under way, what is published meanwhile gathers, and goes out together in the next. A lone event goes out at once
by itself, and a few calls' events right after one another.

- **Order.** One write is under way at a time: sequences follow the order of the calls, whatever fails and is repeated between.
  (Only where a cluster changes its leader under a few events sent right after one another can these change places.)
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

from vmr.errors import ConflictError, EventTooLargeError, InvalidInputError, PublishError
from vmr.log._connection import Connection
from vmr.log._writer import CONFLICTS, DUPLICATE, Outgoing, RefusedError, Writer

MAX_BATCH: Final = 1000
# A batch costs the server a store of its own: so many events by themselves are as quick.
_FEW: Final = 12
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
# Our headers take at most this much of the server's payload limit.
_HEADER_ROOM: Final = 320
# The server cuts a protocol line at 4,096 bytes; a reader's line holds the subject and more.
_MAX_SUBJECT: Final = 1500


class _Call(msgspec.Struct, eq=False):
    """What one caller wants published, when it was asked for (monotonic seconds), and where the answer goes."""

    messages: Sequence[Outgoing]
    size: int
    asked: float
    answer: asyncio.Future[list[int]]

    def succeed(self, sequences: list[int]) -> None:
        """Give the caller its sequences, if it still waits."""
        if not self.answer.done():
            self.answer.set_result(sequences)

    def fail(self, error: Exception) -> None:
        """Give the caller its error, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Publisher:
    """The writing side of one connection."""

    def __init__(self, connection: Connection, stream: str, *, patience: float = 30.0) -> None:
        self.last_sequence = 0
        self._connection = connection
        self._writer = Writer(connection, stream, patience)
        self._calls: deque[_Call] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"publisher of {stream}")

    def check(self, message: Outgoing) -> None:
        """Raise `EventTooLargeError` or `InvalidInputError`, naming the event, when the server could not take ``message``."""
        size, limit = len(message.payload) + _HEADER_ROOM, self._connection.max_payload
        if size > limit:
            raise EventTooLargeError(
                f"the event on {message.subject[:200]} takes {size:,} bytes and the server takes {limit:,} at most: put "
                "its large part into the object store"
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
        self._calls.append(_Call(messages, size, time.monotonic(), answer))
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
                # Whoever has its answer now may have the next event at once: one batch for all, not one for the first.
                await asyncio.sleep(0)

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
        if 1 < len(calls) <= _FEW and all(len(call.messages) == 1 for call in calls):
            await self._settle_each(calls)
        else:
            await self._settle_batch(calls)

    async def _settle_each(self, calls: list[_Call]) -> None:
        outcomes = await self._writer.write_each([call.messages[0] for call in calls], calls[0].asked)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, int):
                self._succeed(call, [outcome])
            elif isinstance(outcome, RefusedError):
                await self._settle_refused(call, outcome)
            else:
                call.fail(outcome)

    async def _settle_batch(self, calls: list[_Call]) -> None:
        messages = [message for call in calls for message in call.messages]
        try:
            sequences = iter(await self._writer.write(messages, calls[0].asked))
        except RefusedError as refusal:
            if len(calls) == 1:
                await self._settle_refused(calls[0], refusal)
                return
            for call in calls:
                await self._settle([call])
        except Exception as error:  # noqa: BLE001 (whatever it is, it is each caller's, and the next calls go on)
            for call in calls:
                call.fail(error)
        else:
            for call in calls:
                self._succeed(call, [next(sequences) for _ in call.messages])

    async def _settle_refused(self, call: _Call, refusal: RefusedError) -> None:
        try:
            if refusal.error.err_code == DUPLICATE and len(call.messages) > 1:
                self._succeed(call, await self._one_by_one(call))
            elif refusal.error.err_code in CONFLICTS:
                self._succeed(call, await self._find(call, refusal))
            else:
                raise refusal  # noqa: TRY301 (the same end as for a refusal of one of them)
        except RefusedError as final:
            call.fail(PublishError(f"the server refuses it: {final}"))
        except Exception as error:  # noqa: BLE001 (it is the caller's)
            call.fail(error)

    async def _one_by_one(self, call: _Call) -> list[int]:
        # What has landed answers with the sequence it has; what has not lands now.
        return [(await self._writer.write([message], call.asked))[0] for message in call.messages]

    async def _find(self, call: _Call, refusal: RefusedError) -> list[int]:
        # The server compares the expectation before it looks for repeats: this conflict may be with our own first try.
        found = [await self._writer.find(message, call.asked) for message in call.messages]
        sequences = [sequence for sequence in found if sequence is not None]
        if len(sequences) < len(found):
            subjects = ", ".join(sorted({each.fence.subject if each.fence else each.subject for each in call.messages}))
            raise ConflictError(f"somebody else wrote to {subjects} first ({refusal}): read again, then retry")
        return sequences

    def _succeed(self, call: _Call, sequences: list[int]) -> None:
        self.last_sequence = max(self.last_sequence, *sequences)
        call.succeed(sequences)


def _drop(answer: asyncio.Future[list[int]]) -> None:
    # Nobody waits for it any more; an error in it is not to be reported as forgotten.
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
