"""Moments as a report says them: seconds of the experiment, and UTC. Moments are microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str) -> int:
    """Return the moment that ``text`` (RFC 3339, as answers have it) names."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def utc(at: int) -> str:
    """Return ``at`` as date and time of day in UTC, to the millisecond."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(" ", "milliseconds").removesuffix("+00:00") + " UTC"


def second(at: int, zero: int) -> str:
    """Return how many seconds ``at`` is after ``zero``, with its sign, to the millisecond."""
    sign = "\u2212" if at < zero else "+"
    return f"{sign}{abs(at - zero) / 1e6:,.3f} s"


def length(microseconds: int) -> str:
    """Return a length of time: in seconds, and in minutes or hours as well where it has some."""
    seconds = microseconds / 1e6
    if seconds < 120:
        return f"{seconds:,.3f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{seconds:,.1f} s ({f'{hours} h ' if hours else ''}{minutes} min {rest} s)"
