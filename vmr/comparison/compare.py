"""The comparison: both records are read into one database in memory, and asked together."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from vmr import contract
from vmr.answers import Select
from vmr.comparison.model import Check, Comparison, Row, Side, Tolerances
from vmr.comparison.outputs import Outputs, first_difference
from vmr.comparison.pieces import Pieces
from vmr.errors import DataError
from vmr.projections import Query, load_queries

Say = Callable[[str], None]
"""Is told what is being done."""

MEMORY: Final = "1GB"
"""What DuckDB may hold in memory; it spills to disk beyond that."""
_SIDES: Final = ("a", "b")
_ALWAYS: Final = ("vms_only_in_one", "entries_only_in_one", "ended_differently", "barrier_order")
_TELL: Final = 100
_EXTRACTS: Final = ("side_vms", "side_plan", "side_attempts", "side_streams")


def compare(
    a: tuple[str, Path], b: tuple[str, Path], tolerances: Tolerances | None = None, *, say: Say | None = None
) -> Comparison:
    """Return how the current runs of two read models differ.

    ``a`` and ``b`` are each a name to show and the file of a read model, as `vmr.record.open_run` yields it; ``say`` is told what is
    being done. Raises `DataError` when one of them cannot be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="vmr-compare-") as folder,
        contextlib.closing(duckdb.connect()) as connection,
    ):
        _prepare(connection, Path(folder))
        work = _Work(connection, tolerances or Tolerances(), say or _silent)
        sides = [work.read(side, *given) for side, given in zip(_SIDES, (a, b), strict=True)]
        try:
            return work.compare(*sides)
        except duckdb.Error as error:
            raise DataError(f"{a[0]} and {b[0]} cannot be compared: {error}") from error


def _silent(_: str) -> None:
    pass


def _prepare(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    connection.execute(f"SET temp_directory = '{_quoted(folder)}'; SET memory_limit = '{MEMORY}'")
    connection.execute("SET threads = 2; SET TimeZone = 'UTC'")


class _Work:
    """One comparison under way."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tolerances: Tolerances, say: Say) -> None:
        self._connection = connection
        self._tolerances = tolerances
        self._say = say
        self._queries: dict[str, Query] = load_queries(contract.projections() / "compare")

    def read(self, side: str, source: str, path: Path) -> Side:
        """Take over what is compared of one side, except for what its programs wrote."""
        self._say(f"reading {source}")
        try:
            self._connection.execute(f"ATTACH '{_quoted(path)}' AS record_{side} (READ_ONLY)")
            self._connection.execute(f"USE record_{side}.main")
            run = self._rows("side_run")
            for name in _EXTRACTS:
                self._extract(name, side)
        except duckdb.Error as error:
            raise DataError(f"{source} cannot be compared: {error}") from error
        self._connection.execute("USE memory.main")
        if not run:
            raise DataError(f"{source} cannot be compared: nothing has been recorded in it")
        return Side(source, run[0])

    def _extract(self, name: str, side: str) -> None:
        if name == "side_streams" and self._tolerances.ignore_output:
            return
        query = self._queries[name]
        into = f"INSERT INTO memory.main.{name}" if side == "b" else f"CREATE TABLE memory.main.{name} AS"
        sql = f"{into} SELECT '{side}' AS side, * FROM ({query.sql})"  # noqa: S608 - names of our own
        given = {"side": side, "ignore": list(self._tolerances.ignore)}
        self._connection.execute(sql, {each: given[each] for each in query.parameters})

    def compare(self, a: Side, b: Side) -> Comparison:
        self._say("comparing")
        self._connection.execute(f"CREATE TABLE pairs AS {self._queries['pairs'].sql}")
        differences = self._differences()
        checks = _checks(differences, self._tolerances)
        return Comparison(
            differs=any(check.judged and check.found for check in checks),
            a=a,
            b=b,
            tolerances=self._tolerances,
            checks=checks,
            matched=self._matched(),
            differences=differences,
            distributions=self._rows("distributions"),
            histograms=self._rows("histograms"),
            by_entry=self._rows("by_entry"),
            barrier=self._rows("barrier")[0],
        )

    def _differences(self) -> dict[str, list[Row]]:
        """Return the differences of every kind that is asked for."""
        wanted = self._tolerances
        found = {name: self._rows(name) for name in _ALWAYS}
        if not wanted.ignore_output:
            found["output_differs"] = self._outputs()
        if wanted.duration_ratio is not None:
            given = {"ratio": wanted.duration_ratio, "seconds": wanted.duration_seconds}
            found["durations_differ"] = self._rows("durations_differ", given)
        if wanted.lateness_seconds is not None:
            found["lateness_differs"] = self._rows("lateness_differs", {"seconds": wanted.lateness_seconds})
        return found

    def _matched(self) -> int:
        found: int = self._connection.execute("SELECT count(*) FROM pairs WHERE in_a AND in_b").fetchall()[0][0]
        return found

    def _rows(self, name: str, given: Mapping[str, Any] | None = None) -> list[Row]:
        params = dict(given) if given else None
        sql, columns, _ = Select(self._queries[name].sql).wrapped(self._connection, params)
        rows = self._connection.execute(sql, params).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _outputs(self) -> list[Row]:
        """Return where outputs begin to differ; those whose pieces differ and whose bytes do not are no difference."""
        self._connection.execute(f"CREATE TABLE output_candidates AS {self._queries['output_candidates'].sql}")
        candidates = self._connection.execute("FROM output_candidates ORDER BY number").fetchall()
        if not candidates:
            return []
        a, b = (self._pieces(side) for side in _SIDES)
        left, right = Outputs(a, a.skip_to), Outputs(b, b.skip_to)
        found = []
        for number, vm, entry, nth, stream in candidates:
            if number % _TELL == 1:
                self._say(f"comparing output {number:,} of {len(candidates):,} byte by byte")
            difference = first_difference(left.take(number), right.take(number))
            if difference is not None:
                place = {"vm": vm, "entry": entry, "nth": nth, "stream": stream}
                found.append(place | msgspec.structs.asdict(difference))
        return found

    def _pieces(self, side: str) -> Pieces:
        record = f"USE record_{side}.main"
        self._connection.execute(record)
        places = self._connection.execute(self._queries["output_pieces"].sql, {"side": side}).fetchall()
        self._connection.execute("USE memory.main")

        def read(wanted: list[int]) -> dict[int, bytes]:
            self._connection.execute(record)
            rows = self._connection.execute(self._queries["output_bytes"].sql, {"places": wanted}).fetchall()
            self._connection.execute("USE memory.main")
            return dict(rows)

        return Pieces(places, read)


def _checks(found: Mapping[str, list[Row]], wanted: Tolerances) -> list[Check]:
    """Return what was compared, in the order in which it is shown."""
    ratio, late = wanted.duration_ratio, wanted.lateness_seconds

    def check(name: str, title: str, *, judged: bool = True, tolerance: str = "") -> Check:
        return Check(name, title, len(found[name]) if name in found else None, judged, tolerance)

    return [
        check("vms_only_in_one", "VMs only in one run"),
        check("entries_only_in_one", "executions only in one run"),
        check("ended_differently", "executions that ended differently"),
        check("output_differs", "outputs that differ", judged=not wanted.ignore_output),
        check("durations_differ", "durations that differ", judged=ratio is not None, tolerance=_durations(wanted)),
        check(
            "lateness_differs",
            "lateness that differs",
            judged=late is not None,
            tolerance="" if late is None else f"{late:g} s",
        ),
        check("barrier_order", "VMs at another place in the barrier's order", judged=wanted.barrier_order),
    ]


def _durations(wanted: Tolerances) -> str:
    if wanted.duration_ratio is None:
        return ""
    return f"{wanted.duration_ratio:g} times, or {wanted.duration_seconds:g} s"


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
