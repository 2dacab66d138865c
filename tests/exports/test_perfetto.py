"""Timelines for Perfetto, read back by its own published schema."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema  # type: ignore[import-untyped]

from tests.exports import many
from tests.exports.run_files import fold
from tests.exports.timeline import Slice, Timeline
from tests.readmodel.histories import BEGIN, FAMILIES, histories, record
from tests.readmodel.recorded_run import moment, recorded_run
from vmr import events
from vmr.events import KnownBody, Recorded
from vmr.exports.of_run import export
from vmr.record import connect

EXPERIMENT = "experiment simple-server, run 2"
SECONDS = 30
"""A run of the usual size takes about two; a busy machine may take longer."""


def _ns(second: float) -> int:
    return round(moment(second).timestamp() * 1000) * 1_000_000


def _exported(folder: Path, history: list[Recorded]) -> Timeline:
    export("perfetto", fold(folder / "run.duckdb", history), folder / "run.pftrace")
    return Timeline(folder / "run.pftrace")


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    """Return the timeline of the recorded run."""
    return _exported(tmp_path_factory.mktemp("run"), recorded_run())


def _spans(found: list[Slice]) -> list[tuple[str, int, int]]:
    return [(each.name, each.since, each.until) for each in sorted(found, key=lambda each: each.since)]


def test_states_follow_one_another(timeline: Timeline) -> None:
    """Below its host, a VM has a track with its states; the last lasts to the end of the record, and says so."""
    states = timeline.of("host lab1", "client-3", "state")
    assert _spans(states) == [
        ("uninitialized", _ns(-119), _ns(-105)),
        ("configuring", _ns(-105), _ns(-60)),
        ("failed", _ns(-60), _ns(70)),
    ]
    assert [each.details.get("open") for each in states] == [None, None, True]
    assert states[-1].details["reason"] == "the agent did not answer"


def test_entries_with_what_became_of_them(timeline: Timeline) -> None:
    """Each execution is a slice, an attempt that never started a moment, one that never ended goes on to the end."""
    assert _spans(timeline.of("server", "entries")) == [
        ("reboot.sh", _ns(-94), _ns(-93)),
        ("reboot.sh", _ns(-79), _ns(-78)),
        ("serve.sh", _ns(1), _ns(70)),
    ]
    assert _spans(timeline.of("client-3", "entries")) == [("10/fetch.sh", _ns(10.1), _ns(10.1))]
    late = timeline.of("client-2", "entries")[-1]
    assert late.details.items() >= {"exit_code": 3, "attempt": 1, "lateness": 3.25, "status": "finished"}.items()


def test_transfers_reboots_and_pauses_have_tracks_of_their_own(timeline: Timeline) -> None:
    """What is no program is beside the programs; operators' pauses of everything are with the experiment."""
    assert _spans(timeline.of("server", "transfers")) == [
        ("logs", _ns(27), _ns(27.5)),
        ("/var/log/access", _ns(27.5), _ns(27.5)),
    ]
    assert _spans(timeline.of("server", "reboots")) == [("reboot", _ns(-93), _ns(-80))]
    assert _spans(timeline.of("client-1", "reboots")) == [("reboot", _ns(40), _ns(40))]
    assert _spans(timeline.of("server", "pauses")) == [("break", _ns(45), _ns(60)), ("resume", _ns(60), _ns(60))]
    assert _spans(timeline.of(EXPERIMENT, "pauses")) == [("pause", _ns(15), _ns(20)), ("resume", _ns(20), _ns(20))]
    assert _spans(timeline.of(EXPERIMENT, "run")) == [("configuring", _ns(-120), _ns(0)), ("running", _ns(0), _ns(70))]


def test_flows_lead_from_the_start_and_from_a_resume_to_the_first_launch(timeline: Timeline) -> None:
    """Every flow has two ends: who let go, and what each VM ran first after that."""
    ends = {(source.name, source.since, sink.path[-2], sink.name) for source, sink in timeline.flows.values()}
    assert ends == {
        ("start", _ns(0), "server", "serve.sh"),
        ("start", _ns(0), "client-1", "fetch.sh"),
        ("start", _ns(0), "client-2", "fetch.sh"),
        ("resume", _ns(20), "server", "logs"),
        ("resume", _ns(20), "client-1", "long.sh"),
        ("resume", _ns(20), "client-2", "extra.sh"),
    }


def test_counters(timeline: Timeline) -> None:
    """How many VMs were ready, the waived one too, and how many programs ran, at every change."""
    assert timeline.counters["ready VMs"] == [(_ns(-104), 1), (_ns(-103), 2), (_ns(-75), 3), (_ns(-60), 4)]
    running = dict(timeline.counters["running programs"])
    assert [running[_ns(second)] for second in (-104, -103, 1, 10.5, 12, 34, 40)] == [1, 0, 1, 3, 2, 2, 1]


def test_times_are_shown_in_utc(timeline: Timeline) -> None:
    """Perfetto's clock and the wall clock are one from the first moment on."""
    clocks = {clock.clock_id: clock.timestamp for clock in timeline.packets[0].clock_snapshot.clocks}
    assert clocks == {schema.ClockSnapshot.Clock.BOOTTIME: _ns(-600), schema.ClockSnapshot.Clock.REALTIME: _ns(-600)}


def test_executions_at_the_same_time_are_side_by_side(tmp_path: Path) -> None:
    """Two programs of one VM that overlap without one being inside the other are on two tracks of one name."""

    def started(entry: str) -> KnownBody:
        return events.EntryStarted(server_uuid="u", entry=entry, attempt=1, name=entry, start_time="1", directory="/d")

    def finished(entry: str) -> KnownBody:
        return events.EntryFinished(server_uuid="u", entry=entry, attempt=1, exit_code=0)

    bodies = [started("a"), started("b"), finished("a"), started("c"), finished("c"), finished("b")]
    timeline = _exported(tmp_path, record([events.VmAdded(server_uuid="u", server_name="n"), *bodies]))
    assert [each.name for each in timeline.of("n", "entries")] == ["a", "c", "b"]
    named = [track for track in timeline.tracks.values() if track.name == "entries"]
    assert len(named) == 2
    assert len({track.parent_uuid for track in named}) == 1
    assert timeline.counters["running programs"][-1][1] == 0


def test_vms_that_go_are_not_ready(tmp_path: Path) -> None:
    """Who was ready and is removed, or cleared away, counts no more; who comes back is to be configured again."""

    def added(vm: str) -> KnownBody:
        return events.VmAdded(server_uuid=vm, server_name=vm)

    def ready(vm: str) -> KnownBody:
        return events.VmStateSet(server_uuid=vm, state="configured")

    gone = [events.VmRemoved(server_uuid="a"), ready("a"), added("a"), events.VmWaived(server_uuid="a"), added("a")]
    cleared = [ready("a"), events.ExperimentCleared(scope=("vms",)), ready("b"), added("b"), ready("b")]
    timeline = _exported(tmp_path, record([added("a"), added("b"), ready("a"), ready("b"), *gone, *cleared]))
    assert [value for _, value in timeline.counters["ready VMs"]] == [1, 2, 1, 2, 1, 2, 0, 1]


def test_start_lets_go_what_is_due_after_it(tmp_path: Path) -> None:
    """A VM that comes late configures after the start; the start's flow leads to its first program in positive time."""
    configured, due = (
        events.EntryStarted(server_uuid="u", entry=f"{time}/x", attempt=1, name="x", start_time=time, directory="/d")
        for time in ("-5", "5")
    )
    added = events.VmAdded(server_uuid="u", server_name="n")
    bodies: list[KnownBody] = [events.ExperimentStarted(start_time=BEGIN), added, configured, due]
    ((start, first),) = _exported(tmp_path, record(bodies)).flows.values()
    assert (start.name, first.details["scheduled_time"]) == ("start", "5")


def test_names_do_harm_to_nobody(tmp_path: Path) -> None:
    """Control characters, also those that turn text around, are shown as escapes; everything else stays as it is."""
    added = events.VmAdded(server_uuid="u", server_name="<b>\x1b[31m\u202egnp\0</b>é", state="a\nb")
    timeline = _exported(tmp_path, record([added]))
    (state,) = timeline.of("state")
    assert state.path == ("no host", "<b>\\x1b[31m\\u202egnp\\x00</b>é", "state")
    assert state.name == "a\\nb"


def test_vms_are_in_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    """vm-10 comes after vm-9."""
    added = [events.VmAdded(server_uuid=str(number), server_name=f"vm-{number}") for number in (10, 9, 100)]
    tracks = _exported(tmp_path, record(added)).tracks.values()
    ranks = {track.name: track.sibling_order_rank for track in tracks if track.name.startswith("vm-")}
    assert sorted(ranks, key=lambda name: ranks[name]) == ["vm-9", "vm-10", "vm-100"]


@hypothesis_settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(histories(FAMILIES["everything"]))
def test_any_record_makes_a_whole_trace(tmp_path_factory: pytest.TempPathFactory, history: list[Recorded]) -> None:
    """However a record contradicts itself: slices nest and close, flows have two ends, and the count of ready VMs ends right."""
    folder = tmp_path_factory.mktemp("any")
    timeline = _exported(folder, history)
    assert all(len(ends) == 2 for ends in timeline.flows.values())
    assert all(ends[0].since <= ends[1].since for ends in timeline.flows.values())
    assert all(found.since <= found.until for found in timeline.slices)
    counted = timeline.counters["ready VMs"][-1][1] if timeline.counters["ready VMs"] else 0
    assert counted == _ready(folder / "run.duckdb")


def _ready(path: Path) -> int:
    with contextlib.closing(connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FILTER (ready) FROM vms").fetchall()[0][0]
    return count


def test_run_of_the_usual_size_takes_seconds(tmp_path: Path) -> None:
    """17,017 executions on 3,003 VMs: all of them are there, with every flow and both counters."""
    many.fold(tmp_path / "run.duckdb")
    begun = time.monotonic()
    told: list[tuple[int, int]] = []
    export("perfetto", tmp_path / "run.duckdb", tmp_path / "t", tell=lambda done, of: told.append((done, of)))
    assert time.monotonic() - begun < SECONDS
    assert told[-1][0] == told[-1][1]
    timeline = Timeline(tmp_path / "t")
    assert len(timeline.of("entries")) == many.ENTRIES
    assert len({found.path[:2] for found in timeline.of("state")}) == many.VMS
    assert {found.path[0] for found in timeline.of("state")} == {f"host lab{number}" for number in range(many.HOSTS)}
    assert timeline.counters["ready VMs"][-1][1] == many.VMS
    assert timeline.counters["running programs"][-1][1] == 0
    assert len(timeline.flows) == many.ENTRIES - many.VMS + many.VMS
    assert all(len(ends) == 2 for ends in timeline.flows.values())
    assert timeline.slices[0].since >= BEGIN.timestamp()
