"""Defects 1 to 6: every record says whose it is, nothing ends the watching of an entry, nothing is lost or deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.answers import Select, read
from vmr.events import EntryFinished, EntryStarted, ExperimentStarted, OutputCaptured, Recorded, VmRebooted
from vmr.log import AsyncLog
from vmr.output import output_events
from vmr.projector import Projector
from vmr.schedule import Entry
from vmr.testing import Behaviour, Output, SimulatedHost, SimulatedProgram


def ask(events: list[Recorded], sql: str) -> list[dict[str, Any]]:
    """Return what the read model of ``events`` answers."""
    projector = Projector()
    try:
        projector.apply(events)
        return read(projector.reader(), Select(sql)).records()
    finally:
        projector.close()


async def run(
    log: AsyncLog, sockets: Path, folder: Path, programs: dict[str, SimulatedProgram], schedule: list[Entry]
) -> list[Recorded]:
    """Run a schedule on one simulated guest to its last entry; return the log."""
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": schedule})
        async with handling(log, folder):
            return await until(log, ended(len(schedule), EntryFinished))


def _bytes(events: list[Recorded], entry: str, stream: str = "stdout") -> bytes:
    pieces = [each for each in bodies(events, OutputCaptured) if (each.entry, each.stream) == (entry, stream)]
    whole = b""
    for piece in pieces:
        assert piece.offset == len(whole)
        whole += piece.data if piece.data is not None else (piece.text or "").encode()
        assert piece.offset + piece.size == len(whole)
    return whole


async def test_defect_1_json_lines_say_where_they_come_from(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """Lines of entries that run side by side: with VM, entry, attempt, stream and time; a program's own timestamp stays its own."""
    programs = {
        name: SimulatedProgram(duration=0.3, stdout=f'{{"from": "{name}", "timestamp": "{name}\'s own"}}\n')
        for name in ("one", "two")
    }
    events = await run(log, sockets, tmp_path / "h", programs, [program(-1, "one"), program(-1, "two")])
    rows = ask(
        events,
        "SELECT server_name, entry, attempt, stream, time, json->>'from' AS f, json->>'timestamp' AS t "
        "FROM output_json_lines ORDER BY entry",
    )
    assert [(row["entry"], row["f"], row["t"]) for row in rows] == [
        ("-1/one", "one", "one's own"),
        ("-1/two", "two", "two's own"),
    ]
    assert {(row["server_name"], row["attempt"], row["stream"]) for row in rows} == {("a", 1, "stdout")}
    captured = {each.event.time for each in events if isinstance(each.event.body, OutputCaptured)}
    assert any(moment.microsecond for moment in captured), "times are finer than seconds"


@pytest.mark.parametrize("line", ["5", "[1,2]", '"x"', "null", "true", "{", '{"a":', "NaN"])
async def test_defect_2_any_json_on_stdout_is_just_output(
    log: AsyncLog, sockets: Path, tmp_path: Path, line: str
) -> None:
    """A line that is JSON and no object, or not quite JSON, hides neither the exit code nor a reboot, and opens no barrier."""
    programs = {"odd": SimulatedProgram(duration=0.05, stdout=f"{line}\n", exit_code=7, reboots=1)}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": [program(-2, "odd"), program(-1, "after")]})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(3, EntryFinished))
    story = [
        (type(each.event.body).__name__, getattr(each.event.body, "entry", ""))
        for each in events
        if isinstance(each.event.body, EntryStarted | EntryFinished | VmRebooted)
    ]
    assert story == [
        ("EntryStarted", "-2/odd"),
        ("EntryFinished", "-2/odd"),
        ("VmRebooted", ""),
        ("EntryStarted", "-2/odd"),
        ("EntryFinished", "-2/odd"),
        ("EntryStarted", "-1/after"),
        ("EntryFinished", "-1/after"),
    ]
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [7, 7, 0]
    assert [each.text for each in bodies(events, OutputCaptured)] == [f"{line}\n"] * 2


async def test_defect_3_output_that_is_no_utf8_is_recorded_byte_for_byte(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """Any bytes, on both streams, with a character cut in two by the moment of the look: bytes, exit code and order hold."""
    wild = bytes(range(256))
    cut = "né 雪 𝄞\n".encode()
    pieces = [Output(data=wild, stream="stderr"), Output(data=cut[:2]), Output(data=cut[2:], at=0.6)]
    programs = {"wild": SimulatedProgram(duration=0.8, output=tuple(pieces), exit_code=3)}
    events = await run(log, sockets, tmp_path / "h", programs, [program(-2, "wild"), program(-1, "after")])
    assert _bytes(events, "-2/wild") == cut
    assert _bytes(events, "-2/wild", "stderr") == wild
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [3, 0]
    assert all(each.text is not None for each in bodies(events, OutputCaptured) if each.stream == "stdout")


def test_defect_3_a_character_that_is_cut_waits_for_its_rest() -> None:
    """However a text is cut by looks at it, every piece but the last is text of whole characters."""
    whole = "é雪𝄞".encode() * 3
    for cut in range(len(whole)):
        begun = output_events("u", "e", 1, "stdout", 0, whole[:cut], final=False)
        taken = sum(each.size for each in begun)
        rest = output_events("u", "e", 1, "stdout", taken, whole[taken:], final=True)
        assert all(each.text is not None for each in (*begun, *rest))
        assert "".join(each.text or "" for each in (*begun, *rest)) == whole.decode()


async def test_defect_4_a_line_cut_by_a_look_is_one_line(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A JSON line that is captured in two halves is one row, and one that is long is not cut off."""
    long = json.dumps({"long": "x" * 300_000})
    pieces = (Output('{"half":'), Output(' "whole"}\n', at=0.6), Output(f"{long}\n", at=0.6))
    programs = {"cut": SimulatedProgram(duration=0.8, output=pieces), "fast": SimulatedProgram(stdout=f"{long}\n")}
    events = await run(log, sockets, tmp_path / "h", programs, [program(-2, "fast"), program(-1, "cut")])
    assert len(bodies(events, OutputCaptured)) >= 2, "the first half was captured by itself"
    sql = "SELECT json->>'half' AS half, length(json->>'long') AS long FROM output_json_lines ORDER BY entry, line"
    rows = [(row["half"], row["long"]) for row in ask(events, sql)]
    assert rows == [("whole", None), (None, 300_000), (None, 300_000)]
    sizes = {each.entry: each.stdout_size for each in bodies(events, EntryFinished)}
    assert sizes == {"-2/fast": len(long) + 1, "-1/cut": len('{"half": "whole"}\n') + len(long) + 1}


async def test_defect_5_a_restart_of_the_experiment_keeps_the_runs_before(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """After a clearing, the records of the first run are all there, and each run is told apart."""
    programs = {"say": SimulatedProgram(stdout="hello\n")}
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests, handling(log, tmp_path / "h"):
        for count in (1, 2):
            await publish(log, guests.sockets, {"a": [program(-1, "say")]})
            await until(log, ended(count, EntryFinished))
            events = await until(log, ended(count, ExperimentStarted))
            await log.clear()
    rows = ask(events, "SELECT run, entry, text FROM all_output_lines ORDER BY run")
    assert [(row["entry"], row["text"]) for row in rows] == [("-1/say", "hello"), ("-1/say", "hello")]
    assert rows[0]["run"] != rows[1]["run"]


async def test_defect_6_a_process_id_that_comes_again_is_another_process(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """After a reboot that nobody asked for, a program that gets an old process id is asked about, not remembered."""
    programs = {
        "first": SimulatedProgram(duration=0.2, exit_code=11, stdout="old\n"),
        "endless": SimulatedProgram(duration=float("inf"), stdout="begun\n"),
        "second": SimulatedProgram(duration=0.4, exit_code=22, stdout="new\n"),
    }
    schedule = [program(-4, "touch"), program(-3, "first"), program(-2, "endless"), program(-1, "second")]
    async with SimulatedHost(sockets, ["a"], Behaviour(programs=programs)) as guests:
        await publish(log, guests.sockets, {"a": schedule})
        async with handling(log, tmp_path / "h"):
            await until(log, ended(2, OutputCaptured))
            await guests.reset("a")
            events = await until(log, ended(3, EntryFinished))
        files = guests.guests["a"].files
        pids = [files.read(f"/var/launch/{each}/attempt-1/running").split()[0] for each in ("-3/first", "-1/second")]
        assert pids[0] == pids[1], "the test is about a process id that comes again"
    ends = {each.entry: each.exit_code for each in bodies(events, EntryFinished)}
    assert ends == {"-4/touch": 0, "-3/first": 11, "-1/second": 22}
    assert _bytes(events, "-1/second") == b"new\n"
