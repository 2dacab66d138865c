"""Single events of the log, one look each, all at once, answered by the stream's leader and so never out of date."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from vmr.events import Recorded
from vmr.log._async import AsyncLog
from vmr.log._wire import ApiRefusedError
from vmr.messages import Raw, stored_time, to_recorded
from vmr.subjects import stream_name

_NO_MESSAGE: Final = 10037


class _Stored(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _Answer(msgspec.Struct, frozen=True):
    message: _Stored


async def last_events(log: AsyncLog, subjects: Sequence[str]) -> list[Recorded | None]:
    """Return the last event on each of ``subjects`` (no wildcards), None where there is none, in the same order.

    Each is at least as new as what was acknowledged to anybody before the call. Raises `LogUnavailableError`.
    """
    return list(await asyncio.gather(*(_get(log, {"last_by_subj": subject}) for subject in subjects)))


async def events_at(log: AsyncLog, sequences: Iterable[int]) -> list[Recorded | None]:
    """Return the events with these sequences, None where there is none, in the same order. Raises `LogUnavailableError`."""
    return list(await asyncio.gather(*(_get(log, {"seq": sequence}) for sequence in sequences)))


async def _get(log: AsyncLog, which: dict[str, str | int]) -> Recorded | None:
    request = f"STREAM.MSG.GET.{stream_name(log.db)}"
    try:
        found = await log.connection.api(request, which, answer=_Answer)
    except ApiRefusedError as refusal:
        if refusal.error.err_code == _NO_MESSAGE:
            return None
        raise
    stored = found.message
    moment = stored_time(stored.hdrs, _nanoseconds(stored.time))
    return to_recorded(Raw(stored.seq, moment, stored.subject, stored.data, 0))


def _nanoseconds(time: str) -> int:
    """Return RFC 3339 time, of nanoseconds, as nanoseconds since the epoch."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(f"{fraction:0<9}")
