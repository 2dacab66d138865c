"""Moments of the record: a sequence, a time, or seconds before or after the start of the run."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb

from vmr.errors import QueryError
from vmr.event_columns import microseconds
from vmr.query import AsOf

HELP: Final = "as it was: a sequence (117), a time (2026-01-31T12:00:05Z), or start+30s"
_START: Final = re.compile(r"start(?:([+-])(\d+(?:\.\d+)?)(ms|s|m|h)?)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}


def sequence_of(connection: duckdb.DuckDBPyConnection, as_of: AsOf) -> int:
    """Return the sequence of the last event that the log held at ``as_of``, by the read model of ``connection``.

    A time is the server's: when an event was stored, which goes the way that the sequence goes. A time without a zone is UTC.
    ``start`` is the start of the current run. Raises `QueryError` for what is no moment, or one that is not there yet.
    """
    if isinstance(as_of, str) and as_of.isdecimal():
        as_of = int(as_of)
    if not isinstance(as_of, int):
        return _last_stored(connection, moment_of(as_of, start_of(connection)))
    last = connection.execute("SELECT seq FROM log_cursor").fetchall()[0][0]
    if not 0 <= as_of <= last:
        raise QueryError(f"as of {as_of}: the record goes from sequence 0, before everything, to {last}")
    return as_of


def moment_of(as_of: str | datetime, start: datetime | None) -> int:
    """Return the time ``as_of`` in microseconds since the epoch, in a run that started at ``start``.

    Raises `QueryError` for what is no time, or counts from a start that is not there yet.
    """
    if isinstance(as_of, datetime):
        return microseconds(as_of)
    if match := _START.fullmatch(as_of.replace(" ", "")):
        if start is None:
            raise QueryError(f"as of {as_of!r}: the current run has no start yet; give a sequence or a time")
        offset = float(match[2] or 0) * _UNITS[match[3] or "s"]
        return microseconds(start) + round(-offset if match[1] == "-" else offset)
    try:
        return microseconds(datetime.fromisoformat(as_of))
    except ValueError as error:
        raise QueryError(f"as of {as_of!r}: no moment; give it {HELP}") from error


def start_of(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """Return the start of the current run of the read model of ``connection``; None before it is known."""
    ((start,),) = connection.execute("SELECT epoch_us(start_time) FROM current_run").fetchall()
    return None if start is None else _EPOCH + timedelta(microseconds=start)


def _last_stored(connection: duckdb.DuckDBPyConnection, moment: int) -> int:
    rows = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM events WHERE stored <= make_timestamptz(?::BIGINT)", [moment]
    ).fetchall()
    return int(rows[0][0])
