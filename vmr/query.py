"""Questions to the read model over request-reply, and their answers.

A question goes to ``vmrq.<db>.<query>`` as JSON: ``{"after": 17, "params": {…}, "deadline": 5.0}``. ``after`` names the sequence
that the answer must reflect (a writer sends its own last one and so reads its own writes). The answer is one message, or several
when it does not fit in one; each is a `Reply` with its share of the rows and says in a header how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec
import nats.errors

from vmr.errors import DataError, LogUnavailableError, ProjectorBehindError, ProjectorMissingError, QueryError
from vmr.subjects import query_subject

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

AsOf: TypeAlias = int | str | datetime
"""A moment of the record: a sequence, a time (or its ISO form), or seconds from the start, such as ``start+30s``."""

PAST: Final = "past"
"""The query that answers any other as of a moment."""

PARTS_HEADER: Final = "Vmr-Parts"
ERROR_HEADER: Final = "Nats-Service-Error"
CODE_HEADER: Final = "Nats-Service-Error-Code"
BAD_REQUEST: Final = "400"
NOT_YET: Final = "504"
T = TypeVar("T")


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asks.

    Attributes:
        after: sequence that the answer must reflect; None for whatever the read model has.
        params: the query's named parameters.
        deadline: seconds that the service may wait for ``after``, and work on the answer.

    """

    after: int | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    deadline: float = 10.0


class Answer(msgspec.Struct, frozen=True):
    """The rows that answer a question.

    Values are what JSON has. What JSON lacks travels as text, and ``types`` says what it was: times as RFC 3339 in UTC with
    microseconds, decimals and 128-bit integers in digits, blobs as base64, nested values as JSON, ``NaN`` and ``Infinity`` by name.

    Attributes:
        sequence: the answer reflects every event up to this one, and none after it.
        columns: names of the columns.
        rows: the rows.
        types: DuckDB's name of each column's type.
        truncated: whether there were more rows than the asker's limit.

    """

    sequence: int
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    types: tuple[str, ...] = ()
    truncated: bool = False

    def records(self) -> list[dict[str, Any]]:
        """Return each row as a dictionary by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def rows_as(self, row: type[T]) -> list[T]:
        """Return each row as a ``row``: a `msgspec.Struct`, dataclass, `typing.TypedDict` or `typing.NamedTuple` with the columns' names.

        Values become what its fields say: `datetime.datetime`, `decimal.Decimal`, `bytes`. Columns that it has no field for are left
        out. Raises `DataError` when a value does not fit.
        """
        try:
            return msgspec.convert(self.records(), list[row], strict=False)  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise DataError(f"the rows are no {row.__name__}: {error}") from error


_questions = msgspec.json.Decoder(Question)
_answers = msgspec.json.Decoder(Answer)
_encoder = msgspec.json.Encoder()


def encode_question(question: Question) -> bytes:
    """Return the JSON form of ``question``."""
    return _encoder.encode(question)


def decode_question(data: bytes) -> Question:
    """Return the question in ``data`` (empty means all defaults); raise `QueryError` when it is none."""
    try:
        return _questions.decode(data) if data else Question()
    except msgspec.MsgspecError as error:
        raise QueryError(f'not a question: {error}; send JSON such as {{"after": 17, "params": {{}}}}') from error


def encode_answer(answer: Answer, limit: int) -> list[bytes]:
    """Return ``answer`` as one message, or as several of at most ``limit`` bytes; raise `QueryError` when one row is larger."""
    whole = _encoder.encode(answer)
    if len(whole) <= limit:
        return [whole]
    if len(answer.rows) < 2:
        raise QueryError(
            f"one row of the answer has {len(whole):,} bytes, a message at most {limit:,}: select less of it"
        )
    middle = len(answer.rows) // 2
    return [
        part
        for rows in (answer.rows[:middle], answer.rows[middle:])
        for part in encode_answer(msgspec.structs.replace(answer, rows=rows), limit)
    ]


async def ask(
    client: Client,
    db: str,
    query: str,
    params: Mapping[str, Any] | None = None,
    *,
    after: int | None = None,
    timeout: float = 10.0,
    as_of: AsOf | None = None,
) -> Answer:
    """Ask ``query`` of database ``db`` and return the answer, which reflects at least the sequence ``after``.

    With ``as_of`` (a sequence, a time, or a text such as ``start+30s``) the answer is that of the moment; ``query`` may then be any of
    the queries and questions, and ``sql``.

    Raises `QueryError` when the service refuses it or has not reached ``after`` within ``timeout`` seconds,
    `ProjectorMissingError` when nobody answers, `LogUnavailableError` when the answer does not come in time.
    """
    asked, given = query, dict(params or {})
    if as_of is not None:
        moment = as_of.isoformat() if isinstance(as_of, datetime) else as_of
        asked, given = PAST, {"query": query, "as_of": moment, "params": given}
    question = encode_question(Question(after=after, params=given, deadline=timeout))
    try:
        return await _request(client, query_subject(db, asked), query, question, timeout)
    except nats.errors.Error as error:
        raise LogUnavailableError(f"query {query!r}: no connection to the server: {error}; see `vmr status`") from error


async def _request(client: Client, subject: str, query: str, question: bytes, seconds: float) -> Answer:
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        await client.publish(subject, question, reply=inbox)
        # The service keeps the deadline itself and says so; the second on top is for its words to arrive.
        return await _gather(subscription, query, time.monotonic() + seconds + 1)
    finally:
        if not client.is_closed:
            await subscription.unsubscribe()


async def _gather(subscription: Subscription, query: str, until: float) -> Answer:
    answer: Answer | None = None
    expected, received = 1, 0
    while answer is None or received < expected:
        message = await _next(subscription, query, until)
        received += 1
        expected = _check(message, query)
        part = _decode(message.data)
        if answer is None:
            answer = part
        else:
            answer.rows.extend(part.rows)
    return answer


async def _next(subscription: Subscription, query: str, until: float) -> Msg:
    try:
        return await subscription.next_msg(timeout=max(until - time.monotonic(), 0.001))
    except TimeoutError as error:
        raise LogUnavailableError(f"query {query!r}: no answer in time; see `vmr status`") from error


def _check(message: Msg, query: str) -> int:
    headers = message.headers or {}
    if headers.get("Status") == "503":
        raise ProjectorMissingError(f"query {query!r}: no projector answers; start it with `vmr up`")
    if headers.get(CODE_HEADER) == NOT_YET:
        raise ProjectorBehindError(f"query {query!r}: {headers.get(ERROR_HEADER, '')}; see `vmr status`")
    if ERROR_HEADER in headers:
        raise QueryError(f"query {query!r}: {headers[ERROR_HEADER]}")
    return int(headers.get(PARTS_HEADER, "1"))


def _decode(data: bytes) -> Answer:
    try:
        return _answers.decode(data)
    except msgspec.MsgspecError as error:
        raise DataError(f"not an answer of the read model: {error}: {data[:120]!r}") from error
