"""Where the time of a run went: what the start waited for, what took longest, and what every VM's time went into.

Every VM's time is cut into pieces, each of which went into one thing, so that the pieces add up to the whole; what the record does
not explain is called unaccounted. The rules are SQL (``projections/blame/``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import msgspec

from vmr import contract, record
from vmr.answers import Select
from vmr.errors import DataError, InvalidInputError
from vmr.projections import load_queries

Row: TypeAlias = dict[str, Any]
"""One row of an answer: values by name of the column."""

MOST_EXECUTIONS: Final = 100
"""The slowest executions, so many of them."""

_STEPS: Final = ("span", "kinds", "vms", "intervals", "segments")


class VmTime(msgspec.Struct, frozen=True):
    """What the time of one VM went into.

    Attributes:
        vm: its name.
        ready_after: seconds from the beginning until the start did not wait for it any more; None where it never was ready.
        before: seconds before the start, by kind; they add up to the span.
        after: seconds from the start to the end of the run, by kind.

    """

    vm: str
    ready_after: float | None
    before: dict[str, float]
    after: dict[str, float]


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went. Times are RFC 3339 in UTC, everything else is seconds.

    Attributes:
        run: number and name of the run, its first event, the start and the end, and the seconds before and after the start.
        kinds: what time can go into, in words, by name.
        vm: whose time the critical path is: the VM that was ready last, or is not ready yet.
        critical_path: that VM's time before the start, piece by piece, from ``from_second`` after the beginning on.
        totals: what the time of all VMs went into, before and after the start.
        entries: the entries, by the time that they took on all VMs.
        executions: the executions that took longest.
        vms: what the time of each VM went into, those that were ready last first.

    """

    run: Row
    kinds: dict[str, str]
    vm: str
    critical_path: list[Row]
    totals: list[Row]
    entries: list[Row]
    executions: list[Row]
    vms: list[VmTime]


def blame(
    path: Path, vm: str | None = None, *, executions: int = MOST_EXECUTIONS, say: Callable[[str], None] | None = None
) -> Blame:
    """Return where the time of the current run of the read model at ``path`` went.

    ``vm`` names the VM whose path to the start is wanted in place of the last; ``executions`` is how many of the slowest are listed;
    ``say`` is told what is being done. Raises `InvalidInputError` when there is no such VM, `DataError` when the record has none, or
    cannot be read.
    """
    with contextlib.closing(record.connect(path)) as connection:
        try:
            return _blame(_Questions(connection), vm, executions, say)
        except duckdb.Error as error:
            raise DataError(f"{path} cannot be read: {error}") from error


class _Questions:
    """The questions of ``projections/blame``, each of which is built on those before."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._queries = load_queries(contract.projections() / "blame")

    def keep(self, name: str) -> None:
        """Keep the answer as the temporary table ``blame_<name>``."""
        self._connection.execute(f"CREATE TEMP TABLE blame_{name} AS {self._queries[name].sql}")

    def rows(self, name: str, given: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the answer, with times as text."""
        params = dict(given) if given else None
        sql, columns, _ = Select(self._queries[name].sql).wrapped(self._connection, params)
        return [dict(zip(columns, row, strict=True)) for row in self._connection.execute(sql, params).fetchall()]


def _blame(questions: _Questions, vm: str | None, executions: int, say: Callable[[str], None] | None) -> Blame:
    for step in _STEPS:
        if say is not None:
            say(f"working out: {step}")
        questions.keep(step)
    span, last = questions.rows("span"), questions.rows("last_vm", {"vm": vm})
    if vm is not None and not last:
        raise InvalidInputError(f"there is no VM {vm!r} in this run; vmr blame --json lists them")
    if not span or not last:
        raise DataError("nothing to account for: this run has no VMs")
    return Blame(
        run=span[0],
        kinds={row["kind"]: row["title"] for row in questions.rows("kinds")},
        vm=last[0]["vm"],
        critical_path=questions.rows("critical_path", {"server_uuid": last[0]["server_uuid"]}),
        totals=questions.rows("totals"),
        entries=questions.rows("entries"),
        executions=questions.rows("executions", {"most": executions}),
        vms=_vms(questions.rows("by_vm")),
    )


def _vms(rows: list[Row]) -> list[VmTime]:
    """Return a VM's rows, one for each kind, as one."""
    found: dict[str, VmTime] = {}
    for row in rows:
        time = found.setdefault(row["server_uuid"], VmTime(row["vm"], row["ready_after"], {}, {}))
        (time.before if row["phase"] == "before the start" else time.after)[row["kind"]] = row["seconds"]
    return list(found.values())
