"""What a report is made of, read from a read model: the run, its VMs, their entries and executions, as rows that say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import duckdb
import msgspec

from vmr import contract
from vmr.errors import DataError
from vmr.projections import load_queries
from vmr.report.text import one_line

_DIGITS: Final = re.compile(r"([0-9]+)")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run, by ``projections/report/run.sql``. Moments are microseconds since 1970 (UTC).

    Attributes:
        run: its number.
        name: of the experiment; None before it was launched.
        guests: which kind of guests it ran on.
        first_seq: sequence of its first event.
        last_seq: sequence of its last event.
        events: number of its events.
        end_reason: why it was ended.
        start_buffer: seconds between the last VM being configured and the start.
        begun: its first event.
        launched: when the experiment was launched.
        start: the start, time 0 of every schedule; None before it is known.
        ended: when it was ended.
        last_event: its last event.
        last_moment: the latest time that any of its events says.
        first_added: when the first VM was added.
        vms: number of VMs at its end.
        ready: how many of them were ready or waived.
        failed: how many of them had failed.

    """

    run: int
    name: str | None
    guests: str | None
    first_seq: int
    last_seq: int
    events: int
    end_reason: str | None
    start_buffer: float | None
    begun: int
    launched: int | None
    start: int | None
    ended: int | None
    last_event: int
    last_moment: int
    first_added: int | None
    vms: int
    ready: int
    failed: int

    @property
    def zero(self) -> int:
        """The moment from which the report counts seconds: the start, or the first event where there was no start."""
        return self.begun if self.start is None else self.start


def select(connection: duckdb.DuckDBPyConnection, name: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of ``projections/report/NAME.sql``; raise `DataError` when they cannot be read."""
    query = load_queries(contract.projections() / "report")[name]
    try:
        result = connection.execute(query.sql, parameters or None)
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    except duckdb.Error as error:
        raise DataError(f"the record cannot be read for the report ({name}): {error}") from error


def run_of(connection: duckdb.DuckDBPyConnection) -> Run:
    """Return the current run; raise `DataError` when nothing has been recorded."""
    rows = select(connection, "run")
    if not rows:
        raise DataError("there is nothing to report on: the record has no event yet")
    return msgspec.convert(rows[0], Run)


def vms_of(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return every VM of the run, in the order of their names as people read them: ``vm-2`` before ``vm-10``."""
    rows = select(connection, "vms")
    for row in rows:
        row["name"] = one_line(row["server_name"] or row["server_uuid"])
    return sorted(rows, key=lambda row: (list(_natural(row["name"])), row["server_uuid"]))


def _natural(name: str) -> Iterator[tuple[int, str]]:
    for place, piece in enumerate(_DIGITS.split(name)):
        # Digits compare by their number, which may have any length, and then as they are written.
        yield (len(piece.lstrip("0")), piece.lstrip("0")) if place % 2 else (0, piece)
