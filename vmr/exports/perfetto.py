"""A run as a timeline for Perfetto: a process per host, below it each VM with its states, entries, transfers, reboots and pauses.

Flows lead from the start, and from every resume, to what each VM ran first after it. Counters say how many VMs were ready and how many
programs ran. What was not over when the record ends lasts to its end, and says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr.exports.sql import batches_of, rows_of
from vmr.exports.trace import Trace
from vmr.record import Tell

_KINDS: Final = ("state", "entries", "transfers", "reboots", "pauses")
_QUERIES: Final = ("perfetto_state", "perfetto_entries", "perfetto_transfers", "perfetto_reboots", "perfetto_controls")
_COLUMNS: Final = frozenset({"server_uuid", "track", "name", "since", "until"})
_NUMBER: Final = re.compile(r"(\d{1,18})")


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Write the timeline of the run that ``record`` has attached to ``part`` (see `vmr.exports.of_run.export`)."""
    (run,) = rows_of(record, "run")
    with part.open("wb") as file:
        timeline = _Timeline(record, Trace(file, _ns(run["first"] or 0)), run)
        timeline.about_run()
        timeline.count()
        of = run["events"]
        for done, row in enumerate(timeline.rows(), 1):
            timeline.add(row)
            if done % 1000 == 0:
                tell(min(done, of), of)
        tell(of, of)
    return f"{timeline.slices:,} slices of {len(timeline.vms):,} VMs"


class _Timeline:
    """What has been written so far."""

    def __init__(self, record: duckdb.DuckDBPyConnection, trace: Trace, run: dict[str, Any]) -> None:
        self.slices = 0
        self._record, self._trace, self._run = record, trace, run
        name = f"experiment {run['name']}" if run["name"] else "experiment"
        self._experiment = trace.process(1, f"{name}, run {run['run']}")
        self.vms = self._vm_tracks()
        self._flows = _Flows(record)
        self._group: tuple[Any, ...] = ()
        self._lanes: list[tuple[int, int]] = []

    def _vm_tracks(self) -> dict[str, int]:
        tracks: dict[str, int] = {}
        hosts: dict[str, int] = {}
        for rank, vm in enumerate(sorted(rows_of(self._record, "perfetto_vms"), key=_in_order)):
            if vm["host"] not in hosts:
                label = f"host {vm['host']}" if vm["host"] else "no host"
                hosts[vm["host"]] = self._trace.process(len(hosts) + 2, label)
            tracks[vm["server_uuid"]] = self._trace.track(hosts[vm["host"]], vm["name"], rank, alone=True)
        return tracks

    def about_run(self) -> None:
        """Write when the run was configuring and when it ran, and its start, from where flows lead to the first launches."""
        run, end = self._run, self._run["ended"] or self._run["last"]
        track = self._trace.track(self._experiment, "run", 0)
        if run["launched"] is not None:
            self._slice(track, "configuring", run["launched"], run["started"] or end, {})
        if run["started"] is not None:
            self._slice(track, "running", run["started"], end, {"end": run["end_reason"]})
            start = self._trace.track(self._experiment, "start", 1)
            self._slice(start, "start", run["started"], run["started"], {}, begun=self._flows.begun.get(0, []))

    def count(self) -> None:
        """Write the counters."""
        tracks: dict[str, int] = {}
        for row in batches_of(self._record, "perfetto_counters"):
            name = row["counter"]
            if name not in tracks:
                tracks[name] = self._trace.counter(self._experiment, name, 10 + len(tracks))
            self._trace.count(tracks[name], _ns(row["moment"]), row["value"])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what lies on tracks, resumes first: a flow begins before what it leads to, also in the same instant."""
        for query in reversed(_QUERIES):
            self._group = ()
            yield from batches_of(self._record, query)

    def add(self, row: dict[str, Any]) -> None:
        """Write one row of `rows`."""
        until, details = row["until"], {key: value for key, value in row.items() if key not in _COLUMNS}
        if until is None:
            until, details["open"] = max(row["since"], self._run["last"]), True
        track = self._lane(row["server_uuid"], row["track"], row["since"], until)
        flows = self._flows
        self._slice(
            track,
            row["name"],
            row["since"],
            until,
            details,
            begun=flows.begun.get(row["seq"], []),
            ended=flows.ended.get(row["seq"], []),
        )

    def _slice(
        self, track: int, name: str, since: int, until: int, details: dict[str, Any], **flows: list[int]
    ) -> None:
        self.slices += 1
        self._trace.slice(track, name, _ns(since), _ns(until), details, **flows)

    def _lane(self, vm: str | None, kind: str, since: int, until: int) -> int:
        """Return a track on which nothing is going on at ``since``: slices of one track may not overlap."""
        if self._group != (vm, kind):
            self._group, self._lanes = (vm, kind), []
        for place, (track, busy) in enumerate(self._lanes):
            if busy <= since:
                self._lanes[place] = (track, until)
                return track
        parent = self._experiment if vm is None else self.vms[vm]
        track = self._trace.track(parent, kind, 2 if vm is None else _KINDS.index(kind))
        self._lanes.append((track, until))
        return track


class _Flows:
    """The numbers of flows by the sequence of the event at which they begin (0: the start), and of that to which they lead."""

    def __init__(self, record: duckdb.DuckDBPyConnection) -> None:
        self.begun: defaultdict[int, list[int]] = defaultdict(list)
        self.ended: defaultdict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(batches_of(record, "perfetto_flows"), 1):
            self.begun[row["source"]].append(number)
            self.ended[row["started_seq"]].append(number)


def _in_order(vm: dict[str, Any]) -> tuple[Any, ...]:
    """Return what sorts VMs by host and name, numbers in a name by their value."""
    parts = _NUMBER.split(vm["name"])
    return vm["host"], [int(part) if place % 2 else part for place, part in enumerate(parts)], vm["server_uuid"]


def _ns(microseconds: int) -> int:
    """Return nanoseconds; Perfetto has no time before 1970."""
    return max(microseconds, 0) * 1000
