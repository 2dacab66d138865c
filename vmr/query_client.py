"""The asking side of `vmr.query`: sends a question, hears how it goes, and gathers the answer.

A service that has died says nothing. So each question asks for signs of life, and one that has had none for `SILENT_SECONDS` is put
again: to another service of the same queue group, or to the one that came after. Answers only read, so asking twice does no harm.
What nobody waits for any more is given up at the services as well.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import nats.errors

from vmr.errors import LogUnavailableError, ProjectorBehindError, ProjectorMissingError, QueryError
from vmr.query import (
    CANCEL,
    CODE_HEADER,
    ERROR_HEADER,
    NOT_YET,
    PARTS_HEADER,
    PAST,
    PROGRESS_HEADER,
    Answer,
    AsOf,
    Question,
    decode_answer,
    encode_question,
)
from vmr.subjects import query_subject

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

QueryProgress: TypeAlias = Callable[[float | None], None]
"""Is told now and then how far an answer is, from 0 to 1, or None where that cannot be said."""

SIGN_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 3.0
MOST_TIMES: Final = 5
_GRACE: Final = 1.0


async def ask(
    client: Client,
    db: str,
    query: str,
    params: Mapping[str, Any] | None = None,
    *,
    after: int | None = None,
    timeout: float = 10.0,
    as_of: AsOf | None = None,
    progress: QueryProgress | None = None,
) -> Answer:
    """Ask ``query`` of database ``db`` and return the answer, which reflects at least the sequence ``after``.

    With ``as_of`` (a sequence, a time, or a text such as ``start+30s``) the answer is that of the moment; ``query`` may then be any of
    the queries and questions, and ``sql``. ``progress`` is told how far an answer is that takes longer than half a second. A service
    that dies over it is replaced by the next one. Cancelled, the question is given up by the service as well.

    Raises `QueryError` when the service refuses it, `ProjectorBehindError` when it has not reached ``after`` within ``timeout`` seconds,
    `ProjectorMissingError` when nobody answers, `LogUnavailableError` when the answer does not come in time.
    """
    asked, given = query, dict(params or {})
    if as_of is not None:
        moment = as_of.isoformat() if isinstance(as_of, datetime) else as_of
        asked, given = PAST, {"query": query, "as_of": moment, "params": given}
    question = Question(after=after, params=given, deadline=timeout, signs=SIGN_SECONDS)
    asking = _Asking(client, db, asked, query, question, progress)
    try:
        async with asking:
            return await asking.answer()
    except nats.errors.Error as error:
        raise LogUnavailableError(f"query {query!r}: no connection to the server: {error}; see `vmr status`") from error


class _Asking:
    """One question, which may have to be put more than once; each time has its own reply subject."""

    def __init__(
        self, client: Client, db: str, asked: str, query: str, question: Question, progress: QueryProgress | None
    ) -> None:
        self._client = client
        self._db = db
        self._subject = query_subject(db, asked)
        self._query = query
        self._question = question
        self._progress = progress
        # The service keeps the deadline itself and says so; the second on top is for its words to arrive.
        self._until = time.monotonic() + question.deadline + _GRACE
        self._inbox = client.new_inbox()
        self._parts: dict[str, list[Answer]] = {}
        self._times = 0
        self._open: list[str] = []

    async def __aenter__(self) -> None:
        self._subscription = await self._client.subscribe(f"{self._inbox}.*")

    async def __aexit__(self, *_: object) -> None:
        if self._client.is_closed:
            return
        # Where this cannot be said any more, the deadline ends the work.
        with contextlib.suppress(nats.errors.Error):
            await self._subscription.unsubscribe()
            await self._give_up(self._open)

    async def _give_up(self, replies: Iterable[str]) -> None:
        for reply in replies:
            await self._client.publish(query_subject(self._db, CANCEL), reply.encode())

    async def answer(self) -> Answer:
        """Return the answer; put the question again when whoever had it has fallen silent."""
        await self._put()
        while True:
            message = await self._next()
            if message is None:
                await self._put()
            elif message.subject not in self._open:
                continue  # it was given up
            elif PROGRESS_HEADER in (message.headers or {}):
                await self._alive(message)
            elif (answer := self._received(message)) is not None:
                return answer

    async def _put(self) -> None:
        reply = f"{self._inbox}.{self._times}"
        self._times += 1
        self._open.append(reply)
        question = self._question
        if self._times > 1:
            left = max(self._until - _GRACE - time.monotonic(), 0.0)
            question = msgspec.structs.replace(question, deadline=left)
        await self._client.publish(self._subject, encode_question(question), reply=reply)

    async def _next(self) -> Msg | None:
        """Return the next message; None when none has come for so long that the question has to be put again."""
        left = self._until - time.monotonic()
        again = left > SILENT_SECONDS and self._times < MOST_TIMES
        try:
            return await self._subscription.next_msg(timeout=max(SILENT_SECONDS if again else left, 0.001))
        except TimeoutError as error:
            if again:
                return None
            raise LogUnavailableError(f"query {self._query!r}: no answer in time; see `vmr status`") from error

    def _received(self, message: Msg) -> Answer | None:
        """Return the answer that ``message`` completes; None when there is more to come."""
        headers = message.headers or {}
        parts = self._parts.setdefault(message.subject, [])
        if len(parts) + 1 >= int(headers.get(PARTS_HEADER, "1")):
            self._open.remove(message.subject)
        self._raise_refusal(headers)
        parts.append(decode_answer(message.data))
        if message.subject in self._open:
            return None
        return msgspec.structs.replace(parts[0], rows=[row for part in parts for row in part.rows])

    async def _alive(self, message: Msg) -> None:
        """Go on waiting for the service that gives this sign of life; another, which was asked meanwhile, need not answer as well."""
        others = [reply for reply in self._open if reply != message.subject]
        self._open = [message.subject]
        await self._give_up(others)
        if self._progress is not None:
            fraction = (message.headers or {})[PROGRESS_HEADER]
            self._progress(float(fraction) if fraction else None)

    def _raise_refusal(self, headers: Mapping[str, str]) -> None:
        if headers.get("Status") == "503":
            raise ProjectorMissingError(f"query {self._query!r}: no projector answers; start it with `vmr up`")
        if headers.get(CODE_HEADER) == NOT_YET:
            raise ProjectorBehindError(f"query {self._query!r}: {headers.get(ERROR_HEADER, '')}")
        if ERROR_HEADER in headers:
            raise QueryError(f"query {self._query!r}: {headers[ERROR_HEADER]}")
