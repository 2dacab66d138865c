"""Events as CloudEvents 1.0: one JSON object per line (structured mode), and back without loss.

An event's own fields are CloudEvents' attributes where there is one for it, and extension attributes where there is none; its body is
the ``data``::

    {"specversion": "1.0", "id": "019…", "source": "vmr:/prod/handler%40lab1", "type": "vm.added", "subject": "vmr.prod.vm.a1b2.added",
     "time": "2026-01-31T12:00:00.123456Z", "datacontenttype": "application/json", "sequence": "00000000000000000117",
     "vmrstored": "2026-01-31T12:00:00.124000789Z", "vmrrun": 2, "vmrproducer": "handler@lab1", "vmrversion": 1, "data": {"type": "vm.added", …}}

A message of the log that would not come back byte for byte from that (it is no JSON, or JSON that vmr would write otherwise) is in
``data_base64`` as a whole, with the attribute ``vmrmessage``. ``sequence`` is as the extension of this name defines it: in order as text.

Objects (the content of files and of very large schedules) are not events: the export refers to them by their hash, as the log does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import duckdb
import msgspec

from vmr.errors import InvalidInputError
from vmr.events import Recorded, encode
from vmr.exports.events import count_of, events_of
from vmr.messages import recorded_of
from vmr.record import Tell

# What CloudEvents' type String excludes: control characters, surrogates, and noncharacters (the last two of every plane among them).
_LAST_TWO: Final = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
_NO_STRING: Final = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_LAST_TWO}]")
_DIGITS: Final = 20
_STEP: Final = 1000
_INT32: Final = 2**31
_SECOND: Final = 1_000_000_000
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the log, in the order in which vmr writes its fields."""

    id: str
    time: str
    producer: str
    version: int = 1
    body: msgspec.Raw


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent, with the attributes that vmr gives it; others are passed over."""

    specversion: Literal["1.0"]
    id: str
    source: str = ""
    type: str = ""
    subject: str
    time: str | None = None
    datacontenttype: str = ""
    sequence: str
    vmrstored: str
    vmrrun: int | None = None
    vmrproducer: str | None = None
    vmrversion: int | None = None
    vmrmessage: bool = False
    vmrsubject: bytes | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: bytes | msgspec.UnsetType = msgspec.UNSET


_messages: Final = msgspec.json.Decoder(_Message)
_lines: Final = msgspec.json.Decoder(_Line)
_encoder: Final = msgspec.json.Encoder()


def to_line(recorded: Recorded, run: int | None = None) -> bytes:
    """Return ``recorded``, of run number ``run``, as a CloudEvent: one line of JSON with its end.

    What it holds byte for byte is ``recorded.data``; where that is empty, the event as vmr writes it.
    """
    data = recorded.data or encode(recorded.event)
    message = _plain(data)
    event = recorded.event
    line = _Line(
        specversion="1.0",
        id=_text(event.id) or f"sequence-{recorded.sequence}",
        source=_source(recorded.subject.partition(".")[2].partition(".")[0], event.producer),
        type=_text(event.type) or "unknown",
        subject=_text(recorded.subject),
        time=_time(event.time) if message is None else message.time,
        datacontenttype="application/octet-stream" if message is None else "application/json",
        sequence=f"{recorded.sequence:0{_DIGITS}}",
        vmrstored=_stamp(recorded.stored),
        vmrrun=run,
        vmrproducer=None if message is None else message.producer,
        vmrversion=None if message is None else message.version,
        vmrmessage=message is None,
        vmrsubject=recorded.subject.encode() if _NO_STRING.search(recorded.subject) else None,
        data=msgspec.UNSET if message is None else message.body,
        data_base64=data if message is None else msgspec.UNSET,
    )
    return _encoder.encode(line) + b"\n"


def _plain(data: bytes) -> _Message | None:
    """Return the parts of the message ``data`` if they are fit for attributes and say it byte for byte, else None."""
    try:
        message = _messages.decode(data)
        msgspec.json.decode(message.body)
        moment = msgspec.convert(message.time, datetime)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    texts = (message.id, message.time, message.producer)
    fit = (
        message.id and moment.tzinfo and -_INT32 <= message.version < _INT32 and not any(map(_NO_STRING.search, texts))
    )
    same = _encoder.encode(message) == data and b"\n" not in data and b"\r" not in data
    return message if fit and same else None


def _text(text: str) -> str:
    return _NO_STRING.sub("\N{REPLACEMENT CHARACTER}", text) if not text.isascii() or not text.isprintable() else text


def _time(moment: datetime) -> str | None:
    try:
        return (
            (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat().replace("+00:00", "Z")
        )
    except OverflowError:
        return None  # at the edge of the calendar; the message has it, and the attribute is optional


@lru_cache(maxsize=1024)
def _source(database: str, producer: str) -> str:
    return f"vmr:/{quote(database, safe='')}/{quote(producer, safe='')}"


def _stamp(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, _SECOND)
    return f"{_second(seconds)}.{rest:09}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _nanoseconds(stamp: str) -> int:
    match = _STAMP.fullmatch(stamp)
    if match is None:
        raise ValueError(f"vmrstored {stamp[:40]!r} is no UTC time such as 2026-01-31T12:00:00.123456789Z")
    return int(datetime.fromisoformat(f"{match[1]}+00:00").timestamp()) * _SECOND + int((match[2] or "").ljust(9, "0"))


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Write the events of the run that ``record`` has attached to ``part`` (see `vmr.exports.of_run.export`)."""
    run: int = record.execute("SELECT run FROM log_cursor").fetchall()[0][0]
    return write_events(events_of(record), run, count_of(record), part, tell)


def write_events(events: Iterable[Recorded], run: int, of: int, part: Path, tell: Tell) -> str:
    """Write ``events`` of run number ``run``, of which there are ``of``, to ``part``; return what was written, for people."""
    with part.open("wb") as file:
        for done, recorded in enumerate(events, 1):
            file.write(to_line(recorded, run))
            if done % _STEP == 0 or done == of:
                tell(done, of)
    return f"{of:,} events"


def read(lines: Iterable[bytes], place: str = "CloudEvents") -> Iterator[Recorded]:
    """Yield the events that ``lines`` (see `to_line`) hold, as the log held them; empty lines are passed over.

    Raises `InvalidInputError`, with ``place`` and the number of the line, for a line that is no event of vmr's, and where one is missing
    or twice: sequences go up by one.
    """
    before: int | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            recorded = _recorded(_lines.decode(line))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"{place}, line {number}: not an event that vmr has exported: {error}") from error
        if before is not None and recorded.sequence != before + 1:
            raise InvalidInputError(
                f"{place}, line {number}: event {recorded.sequence} comes after {before}: lines are missing or out of order"
            )
        before = recorded.sequence
        yield recorded


def run_of_line(line: bytes) -> int:
    """Return the number of the run that the event in ``line`` is of; 1 where it does not say, or says what is none."""
    run = _lines.decode(line).vmrrun
    return run if run is not None and run > 0 else 1


def _recorded(line: _Line) -> Recorded:
    if not line.sequence.isascii() or not line.sequence.isdecimal():
        raise ValueError(f"sequence {line.sequence[:40]!r} is no number")
    subject = line.subject if line.vmrsubject is None else line.vmrsubject.decode()
    return recorded_of(int(line.sequence), _nanoseconds(line.vmrstored), subject, _data(line))


def _data(line: _Line) -> bytes:
    if line.vmrmessage:
        if isinstance(line.data_base64, msgspec.UnsetType):
            raise ValueError("vmrmessage is true, and data_base64 is missing")
        return line.data_base64
    if (
        isinstance(line.data, msgspec.UnsetType)
        or line.time is None
        or line.vmrproducer is None
        or line.vmrversion is None
    ):
        raise ValueError("one of the attributes time, vmrproducer, vmrversion and data is missing")
    return _encoder.encode(
        _Message(id=line.id, time=line.time, producer=line.vmrproducer, version=line.vmrversion, body=line.data)
    )
