"""Questions to the read model over request-reply, and their answers.

A question goes to ``vmrq.<db>.<query>`` as JSON: ``{"after": 17, "params": {…}, "deadline": 5.0}``. ``after`` names the sequence
that the answer must reflect (a writer sends its own last one and so reads its own writes). The answer is one message, or several
when it does not fit in one; each is a `Reply` with its share of the rows and says in a header how many there are.

Who sets ``signs`` hears from the service while it works, and so tells a long answer from a service that has died; who gives up tells
the services, with the reply subject of the question as the message, on ``vmrq.<db>.cancel``. `vmr.query_client` does both.
"""

from __future__ import annotations

import html
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from vmr.errors import DataError, QueryError

AsOf: TypeAlias = int | str | datetime
"""A moment of the record: a sequence, a time (or its ISO form), or seconds from the start, such as ``start+30s``."""

PAST: Final = "past"
"""The query that answers any other as of a moment."""

PARTS_HEADER: Final = "Vmr-Parts"
PROGRESS_HEADER: Final = "Vmr-Progress"
CANCEL: Final = "cancel"
"""The subject on which who asked gives a question up."""
ERROR_HEADER: Final = "Nats-Service-Error"
CODE_HEADER: Final = "Nats-Service-Error-Code"
BAD_REQUEST: Final = "400"
NOT_YET: Final = "504"
_ROWS_SHOWN: Final = 100
T = TypeVar("T")


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asks.

    Attributes:
        after: sequence that the answer must reflect; None for whatever the read model has.
        params: the query's named parameters.
        deadline: seconds that the service may wait for ``after``, and work on the answer.
        signs: seconds between signs that the service is at work, with `PROGRESS_HEADER`; None for none, as plain requests want.

    """

    after: int | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    deadline: float = 10.0
    signs: float | None = None


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

    def _repr_html_(self) -> str:
        """Return the first rows as a table, which notebooks show; what guests wrote is shown as text."""
        head = "".join(f"<th>{_shown(column)}</th>" for column in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_shown(value)}</td>' for value in row)}</tr>" for row in self.rows[:_ROWS_SHOWN]
        )
        more = f"<p>{len(self.rows) - _ROWS_SHOWN:,} more rows</p>" if len(self.rows) > _ROWS_SHOWN else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _shown(value: Any) -> str:
    text = "" if value is None else str(value)
    plain = (each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return html.escape("".join(plain))


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


def decode_answer(data: bytes) -> Answer:
    """Return the answer, or the part of one, in ``data``; raise `DataError` when it is none."""
    try:
        return _answers.decode(data)
    except msgspec.MsgspecError as error:
        raise DataError(f"not an answer of the read model: {error}: {data[:120]!r}") from error
