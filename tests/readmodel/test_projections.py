"""What the projections say of a log: each rule of each file in ``projections/``, and the files themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tests.readmodel.histories import SHA, at, record
from vmr import contract, events
from vmr.answers import Select, read
from vmr.errors import DataError
from vmr.event_columns import KINDS, fields_of
from vmr.events import AgentAddress, KnownBody, Recorded, Unknown
from vmr.projections import load_projections, parse_projection, parse_query
from vmr.projector import Projector
from vmr.schedule import Entry, ObjectRef, Pause

VM = events.VmAdded(server_uuid="a", server_name="host.net")


def ask(projector: Projector, sql: str) -> list[dict[str, Any]]:
    """Return the rows of ``sql`` as dictionaries."""
    return read(projector.reader(), Select(sql)).records()


def fold(projector: Projector, *bodies: KnownBody | Unknown) -> None:
    """Fold ``bodies`` as the next events of the log."""
    projector.apply(record(bodies, projector.cursor + 1))


def output(
    text: str | bytes, offset: int, *, stream: str = "stdout", entry: str = "10/curl", attempt: int = 1
) -> KnownBody:
    """Return a captured piece of output."""
    raw = text if isinstance(text, bytes) else text.encode()
    return events.OutputCaptured(
        server_uuid="a",
        entry=entry,
        attempt=attempt,
        stream="stdout" if stream == "stdout" else "stderr",
        offset=offset,
        size=len(raw),
        text=text if isinstance(text, str) else None,
        data=raw if isinstance(text, bytes) else None,
    )


def test_the_tutorial_question_is_one_statement(projector: Projector) -> None:
    """Time to fetch, per client: also where a line was cut into pieces in the middle."""
    other = events.VmAdded(server_uuid="b", server_name="client2.net")
    piece = events.OutputCaptured(
        server_uuid="b", entry="10/curl", attempt=1, stream="stdout", offset=0, size=14, text='{"time": 0.5}\n'
    )
    fold(projector, VM, other, output('noise\n{"time": 0.1', 0), output("23}\n", 18), piece)
    rows = ask(
        projector,
        "SELECT server_name, json->>'time' AS seconds FROM output_json_lines WHERE entry LIKE '10/%' ORDER BY ALL",
    )
    assert [tuple(row.values()) for row in rows] == [("client2.net", "0.5"), ("host.net", "0.123")]


def lines(projector: Projector, *pieces: KnownBody) -> list[tuple[str, bool]]:
    """Return the lines that ``pieces`` of output make."""
    fold(projector, VM, *pieces)
    rows = ask(projector, "SELECT text, complete FROM output_lines ORDER BY entry, attempt, stream, line")
    return [(row["text"], row["complete"]) for row in rows]


def test_a_character_split_over_pieces_is_whole(projector: Projector) -> None:
    """Pieces are put together as bytes before they are read as text."""
    raw = "né😀\n".encode()
    pieces = [output(raw[n : n + 1], n) for n in range(len(raw))]
    assert lines(projector, *pieces) == [("né😀", True)]


def test_invalid_bytes_are_shown_and_kept(projector: Projector) -> None:
    """A stray byte is U+FFFD in lines, what is around it stays readable, and the bytes themselves are exact."""
    raw = b"a\xff\\x41'\"\x00\xc3\xa9\xe2\x82\n\xe2\x82\xac\x80|\xf0\x9f\x98\x80\xc3"
    assert lines(projector, output(raw, 0)) == [("a\ufffd\\x41'\"\x00é\ufffd\ufffd", True), ("€\ufffd|😀\ufffd", False)]
    stored = projector.reader().execute("SELECT data FROM output").fetchall()
    assert stored == [(raw,)]


def test_line_ends(projector: Projector) -> None:
    """Empty lines count, Windows line ends are taken off, and the last line may be without an end."""
    assert lines(projector, output("a\r\n\n\nb", 0)) == [("a", True), ("", True), ("", True), ("b", False)]


def test_bytes_captured_twice_count_once(projector: Projector) -> None:
    """A handler that was restarted may capture again what its predecessor had captured."""
    assert lines(projector, output("one\ntw", 0), output("e\ntwo\nth", 2), output("one", 0)) == [
        ("one", True),
        ("two", True),
        ("th", False),
    ]


def test_streams_and_attempts_are_kept_apart(projector: Projector) -> None:
    """Lines belong to one stream of one attempt of one entry."""
    pieces = output("o", 0), output("e", 0, stream="stderr"), output("2", 0, attempt=2), output("x", 0, entry="11/x")
    assert [text for text, _ in lines(projector, *pieces)] == ["e", "o", "2", "x"]


def test_json_lines_are_what_is_json(projector: Projector) -> None:
    """Objects, lists, numbers, strings, true and null are JSON; NaN, empty lines and prose are not."""
    text = '{"a": [1]}\n5\n-1.5\n[1,2]\n"x"\nnull\ntrue\n\nNaN\n-Infinity\nhello\n{"a":\n 7\n{"time": 1}'
    fold(projector, VM, output(text, 0))
    found = [row["json"] for row in ask(projector, "SELECT json FROM output_json_lines ORDER BY line")]
    assert [json.loads(one) for one in found] == [{"a": [1]}, 5, -1.5, [1, 2], "x", None, True, 7, {"time": 1}]
    assert [row["t"] for row in ask(projector, "SELECT json->>'time' AS t FROM output_json_lines ORDER BY line")][
        -1
    ] == "1"


def test_runs_begin_where_everything_is_cleared(projector: Projector) -> None:
    """A partial clear stays in the run; a whole one begins the next, and the history stays."""
    fold(projector, VM, events.VmStateSet(server_uuid="a", state="configured"))
    fold(projector, events.ExperimentCleared(scope=("times",)), events.ExperimentCleared())
    fold(projector, events.VmAdded(server_uuid="b", server_name="b"), events.ExperimentEnded(reason="done"))
    assert [row["server_uuid"] for row in ask(projector, "FROM vms")] == ["b"]
    history = ask(projector, "SELECT run, server_uuid, state, present FROM all_vms ORDER BY run")
    assert [tuple(row.values()) for row in history] == [(1, "a", "configured", True), (2, "b", "uninitialized", True)]
    runs = ask(projector, "SELECT run, first_seq, last_seq, events, vms, end_reason FROM runs")
    assert [tuple(row.values()) for row in runs] == [(1, 1, 3, 3, 1, None), (2, 4, 6, 3, 1, "done")]


def test_a_log_that_begins_with_a_clear_is_in_run_one(projector: Projector) -> None:
    """The first event begins the first run, whatever it is."""
    fold(projector, events.ExperimentCleared(), VM)
    assert [row["run"] for row in ask(projector, "SELECT run FROM vms")] == [1]


def test_start_is_the_earliest_report_and_can_be_cleared(projector: Projector) -> None:
    """The first start counts until the times are cleared; then the next one does."""

    def start() -> tuple[object, ...]:
        (row,) = ask(projector, "SELECT launch_time, start_time FROM current_run")
        return tuple(row.values())

    assert start() == (None, None)
    launched = events.ExperimentLaunched(launch_time=at(1))
    fold(projector, launched, events.ExperimentStarted(start_time=at(9)), events.ExperimentStarted(start_time=at(5)))
    assert start() == ("2026-01-31T12:00:00.001000Z", "2026-01-31T12:00:00.009000Z")
    fold(projector, events.ExperimentCleared(scope=("times",)))
    assert start() == (None, None)
    fold(projector, events.ExperimentStarted(start_time=at(7)))
    assert start() == (None, "2026-01-31T12:00:00.007000Z")


def test_a_removed_vm_is_gone_and_may_come_back(projector: Projector) -> None:
    """Removal takes it out of the VMs and of the barrier; what is said of it then brings nothing back."""
    fold(projector, VM, events.VmRemoved(server_uuid="a"), events.VmStateSet(server_uuid="a", state="configured"))
    assert ask(projector, "FROM vms") == []
    fold(
        projector, events.VmAdded(server_uuid="a", server_name="again", agent=AgentAddress(host="lab1", path="/run/a"))
    )
    (row,) = ask(projector, "FROM vms")
    assert (row["server_name"], row["state"], row["agent_engine"]) == ("again", "uninitialized", "QemuVM")


def test_a_stale_state_makes_no_ghost(projector: Projector) -> None:
    """A state of a VM that was never added is an anomaly and no VM (a ghost would hold up the barrier for ever)."""
    fold(projector, events.VmStateSet(server_uuid="ghost", state="configuring"))
    assert ask(projector, "FROM not_ready") == []
    assert [row["kind"] for row in ask(projector, "FROM anomalies")] == ["absent VM"]


def test_barrier_says_who_is_missing_since_when(projector: Projector) -> None:
    """Configured and n/a are ready, in any case; everything else is not, failed ones too."""
    states = ["configured", "N/A", "failed", "meditating", "uninitialized"]
    fold(projector, *(events.VmAdded(server_uuid=s, server_name=s) for s in states))
    fold(projector, *(events.VmStateSet(server_uuid=s, state=s, reason=f"so {s}") for s in states[:4]))
    missing = ask(projector, "SELECT server_name, since, reason FROM not_ready")
    assert [tuple(row.values()) for row in missing] == [
        ("uninitialized", "2026-01-31T12:00:00.005000Z", ""),
        ("failed", "2026-01-31T12:00:00.008000Z", "so failed"),
        ("meditating", "2026-01-31T12:00:00.009000Z", "so meditating"),
    ]
    (row,) = ask(projector, "SELECT vms, ready, not_ready, failed FROM barrier")
    assert tuple(row.values()) == (5, 2, 3, 1)


def test_state_history_has_intervals(projector: Projector) -> None:
    """Every state has the sequence and time from which and to which it held."""
    fold(projector, VM, events.VmStateSet(server_uuid="a", state="configured"), events.VmRemoved(server_uuid="a"))
    rows = ask(projector, "SELECT state, from_seq, until_seq, seconds FROM vm_state_history ORDER BY from_seq")
    assert [tuple(row.values()) for row in rows] == [("uninitialized", 1, 2, 0.001), ("configured", 2, 3, 0.001)]


def _started(entry: str, due: int | None = None, attempt: int = 1) -> KnownBody:
    time = entry.split("/", maxsplit=1)[0]
    return events.EntryStarted(
        server_uuid="a", entry=entry, attempt=attempt, name="x", start_time=time, due=None if due is None else at(due)
    )


def test_attempts_tell_how_each_execution_went(projector: Projector) -> None:
    """Running, finished, failed and lost ones, with lateness, duration and signal; a repeated start changes nothing."""
    fold(projector, VM, _started("10/run", due=1), _started("11/kill"), _started("12/lost"), _started("13/on"))
    fold(projector, _started("10/run", due=1))
    fold(projector, events.EntryFinished(server_uuid="a", entry="10/run", attempt=1, exit_code=3, stdout_size=7))
    fold(projector, events.EntryFinished(server_uuid="a", entry="11/kill", attempt=1, exit_code=137, duration=2.5))
    fold(projector, events.EntryLost(server_uuid="a", entry="12/lost", attempt=1, reason="rebooted"))
    fold(projector, events.EntryFailed(server_uuid="a", entry="14/no", attempt=1, error="no such file"))
    rows = ask(
        projector, "SELECT entry, status, exit_code, signal, duration, lateness, reason FROM attempts ORDER BY entry"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("10/run", "finished", 3, None, 0.005, 0.001, None),
        ("11/kill", "finished", 137, 9, 2.5, None, None),
        ("12/lost", "lost", None, None, 0.005, None, "rebooted"),
        ("13/on", "running", None, None, None, None, None),
        ("14/no", "failed", None, None, None, None, "no such file"),
    ]
    assert ask(projector, "FROM anomalies") == []


def test_an_attempt_ends_once(projector: Projector) -> None:
    """The first end counts; a second one, and one without a start, are anomalies."""
    done = events.EntryFinished(server_uuid="a", entry="1/x", attempt=1, exit_code=0)
    fold(projector, VM, _started("1/x"), done, events.EntryLost(server_uuid="a", entry="1/x", attempt=1, reason="late"))
    fold(projector, events.EntryFinished(server_uuid="a", entry="2/y", attempt=1, exit_code=0))
    assert [row["status"] for row in ask(projector, "FROM attempts WHERE entry = '1/x'")] == ["finished"]
    assert [(row["seq"], row["kind"]) for row in ask(projector, "FROM anomalies")] == [
        (4, "second end"),
        (5, "end without start"),
    ]


def test_schedules_and_their_entries(projector: Projector) -> None:
    """The last version counts, older versions stay, and entries in the object store are not counted."""
    entries = (
        Entry(id="1/a", start_time=1.5, executable="/bin/a", arguments="-x 'y'"),
        Entry(id="-inf/break", start_time="-inf", pause=Pause()),
        Entry(id="2/pause", start_time=2, pause=Pause(duration=1)),
    )
    fold(projector, events.SchedulePublished(server_name="v", entries=entries[:1]))
    fold(projector, events.SchedulePublished(server_name="v", entries=entries, ip="10.0.0.1"))
    fold(projector, events.SchedulePublished(server_name="big", entries_object=ObjectRef(sha256=SHA, size=1)))
    fold(projector, events.SchedulePublished(server_name="gone"), events.ScheduleRemoved(server_name="gone"))
    rows = ask(projector, "SELECT server_name, entries, ip, seq FROM schedules ORDER BY server_name")
    assert [tuple(row.values()) for row in rows] == [("big", None, None, 3), ("v", 3, "10.0.0.1", 2)]
    found = ask(projector, "SELECT entry, scheduled_time, scheduled_second, kind, arguments FROM schedule_entries")
    assert sorted(tuple(row.values()) for row in found) == [
        ("-inf/break", "-inf", "-Infinity", "break", ""),
        ("1/a", "1.5", 1.5, "program", "-x 'y'"),
        ("2/pause", "2", 2.0, "pause", ""),
    ]
    assert len(ask(projector, "FROM schedule_entry")) == 4


def test_resources_outlive_runs(projector: Projector) -> None:
    """The last upload of a name counts; clearing the experiment keeps it, removing it does not."""
    first, second = (ObjectRef(sha256=digit * 64, size=int(digit)) for digit in "12")
    for ref in (first, second):
        fold(projector, events.ResourceUploaded(store="s", name="f", object=ref))
    fold(projector, events.ExperimentCleared(), events.ResourceUploaded(store="s", name="g", object=first))
    fold(projector, events.ResourceRemoved(store="s", name="g"))
    rows = ask(projector, "SELECT name, size, sha256, run FROM resources")
    assert [tuple(row.values()) for row in rows] == [("f", 2, "2" * 64, 1)]


def test_handlers_reboots_controls_and_transfers(projector: Projector) -> None:
    """A handler that was fenced off ends nothing by letting go; the others are kept as they come."""
    fold(projector, VM)
    fold(projector, *(events.HandlerAttached(server_uuid="a", handler=name, host="lab") for name in ("one", "two")))
    fold(projector, events.HandlerDetached(server_uuid="a", handler="one"))
    assert [row["handler"] for row in ask(projector, "FROM handlers")] == ["two"]
    fold(projector, events.HandlerDetached(server_uuid="a", handler="two"))
    assert ask(projector, "FROM handlers") == []
    history = ask(projector, "SELECT handler, from_seq, until_seq FROM handler_history ORDER BY from_seq")
    assert [tuple(row.values()) for row in history] == [("one", 2, 3), ("two", 3, 5)]
    fold(projector, events.VmRebooted(server_uuid="a", entries=("1/it's", 'x"y')), events.VmRebooted(server_uuid="a"))
    assert [json.loads(row["entries"]) for row in ask(projector, "FROM reboots ORDER BY seq")] == [
        ["1/it's", 'x"y'],
        [],
    ]
    fold(projector, events.ExperimentPaused(duration=1.5), events.VmResumed(server_uuid="a"))
    rows = ask(projector, "SELECT action, server_name, duration FROM controls ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [("paused", None, 1.5), ("resumed", "host.net", None)]
    moved = events.FileTransferred(server_uuid="a", entry="1/t", guest_path="/a", host_path="/b", size=3, sha256=SHA)
    fold(projector, moved)
    assert [row["host_path"] for row in ask(projector, "FROM transfers")] == ["/b"]


@pytest.mark.parametrize(
    "raw", [b'{"type":"vm.later","x":1}', b'{"x":"\xff"}', b'{"x":"\\ud800"}', b"[" * 5000 + b"]" * 5000]
)
def test_unknown_events_are_kept_and_counted(projector: Projector, raw: bytes) -> None:
    """A type that this code does not know stops nothing, whatever its body is, and is listed."""
    fold(projector, VM, Unknown(type="vm.later", version=2**70, raw=raw), events.VmStateSet(server_uuid="a", state="x"))
    assert [(row["seq"], row["kind"]) for row in ask(projector, "FROM anomalies")] == [(2, "unknown event")]
    assert [row["state"] for row in ask(projector, "FROM vms")] == ["x"]


def test_missing_and_misstated_output_is_an_anomaly(projector: Projector) -> None:
    """Bytes that nobody captured, and a piece that is not as long as it says."""
    fold(projector, VM, output("abc", 0), output("x", 5))
    lie = events.OutputCaptured(server_uuid="a", entry="1/z", attempt=1, stream="stdout", offset=0, size=9, text="z")
    fold(projector, lie)
    assert [row["kind"] for row in ask(projector, "FROM anomalies")] == ["output missing", "output of another size"]


def test_every_golden_event_folds(projector: Projector) -> None:
    """Every example of every event ever published can be folded, and has columns."""
    files = sorted((contract.streams() / "golden").glob("*.json"))
    examples = [example for path in files for example in _examples(path)]
    assert len(examples) >= len(events.BODY_TYPES)
    records = [
        Recorded(sequence=n, stored=1, subject="vmr.x", event=events.decode(raw)) for n, raw in enumerate(examples, 1)
    ]
    projector.apply(records)
    for view in projector.reader().execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        ask(projector, f"FROM {view[0]}")
    (row,) = ask(projector, "SELECT count(*) AS n, count(*) FILTER (NOT known) AS unknown FROM events")
    assert row["n"] == len(examples)


def _examples(path: Path) -> list[bytes]:
    decoded = msgspec.json.decode(path.read_bytes(), type=msgspec.Raw | list[msgspec.Raw])
    return [bytes(one) for one in decoded] if isinstance(decoded, list) else [bytes(decoded)]


def test_every_table_and_column_has_a_comment(projector: Projector) -> None:
    """An analyst finds the meaning of everything in the database itself."""
    connection = projector.reader()
    silent = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        " AND table_name <> 'batch'"
    ).fetchall()
    silent += connection.execute("SELECT table_name FROM duckdb_tables() WHERE comment IS NULL").fetchall()
    silent += connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary AND comment IS NULL"
    ).fetchall()
    assert silent == []


def test_events_have_a_column_for_every_field(projector: Projector) -> None:
    """The columns that Python fills are those of the table, with types that hold them."""
    kinds = {"text": {"VARCHAR", "JSON"}, "integer": {"BIGINT", "INTEGER"}, "float": {"DOUBLE"}}
    kinds |= {"boolean": {"BOOLEAN"}, "time": {"TIMESTAMP WITH TIME ZONE"}}
    columns = dict(
        projector.reader()
        .execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'events'")
        .fetchall()
    )
    assert columns.keys() == KINDS.keys()
    assert [name for name, kind in KINDS.items() if columns[name] not in kinds[kind]] == []
    for body in events.BODY_TYPES.values():
        for field in fields_of(body):
            assert KINDS[field.column] == field.kind, (body, field)


GOOD = """-- projection: mine
-- What it is.
-- section: table
CREATE TABLE mine (n INTEGER);
-- section: fold on vm.added
INSERT INTO mine SELECT 1 FROM batch;
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-- projection: mine", "-- projection: My Own", r"mine\.sql, line 1: begin with '-- projection: name'"),
        ("-- What it is.\n", "", "no description"),
        ("vm.added", "vm.aded", r"mine\.sql, line 5: no event type 'vm.aded'"),
        ("fold on", "folds on", r"mine\.sql, line 5: no section 'folds on vm.added'; there are: table; fold on"),
        ("fold on vm.added", "table", r"mine\.sql, line 5: a second section 'table'"),
        ("-- section: table\n", "", r"mine\.sql, line 3: SQL outside of a section"),
        ("CREATE", "-- projection: other\nCREATE", r"mine\.sql, line 4: a second projection"),
    ],
)
def test_a_wrong_projection_file_is_named_with_its_line(old: str, new: str, message: str) -> None:
    """Errors say file, line and mend."""
    assert [fold.events for fold in parse_projection(GOOD, "mine.sql").folds] == [{"vm.added"}]
    with pytest.raises(DataError, match=message):
        parse_projection(GOOD.replace(old, new), "mine.sql")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "begin with a comment"),
        ("-- A question.\nSELECT $a", "parameter 'a' must be used in the SQL and told of"),
        ("-- A question.\n-- parameter a: b\nSELECT 1", "parameter 'a' must be used"),
    ],
)
def test_a_wrong_query_file_is_named(text: str, message: str) -> None:
    """A query says what it answers and what its parameters are."""
    with pytest.raises(DataError, match=message):
        parse_query(text, "mine", "mine.sql")


def test_two_projections_of_one_name_are_refused(tmp_path: Path) -> None:
    """A copied file that kept its header is found."""
    for name in ("1.sql", "2.sql"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(DataError, match=r"2\.sql, line 1: there is a projection 'mine' already"):
        load_projections(tmp_path)


def test_views_stay_readable_without_vmr(tmp_path: Path) -> None:
    """A copy of the file can be asked with DuckDB alone."""
    projector = Projector(tmp_path / "read_model.duckdb")
    fold(projector, VM)
    projector.close()
    with duckdb.connect(str(tmp_path / "read_model.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT server_name FROM vms").fetchall() == [("host.net",)]
