"""`vmr replay` as people use it: lines at their pace, subjects for other programs, a picture with keys on a terminal, and --verify."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import duckdb
import msgspec
import pytest

import vmr
from tests.replay.conftest import Saved
from tests.replay.test_verify import sealed_archive
from vmr.cli import main
from vmr.cli.keys import decode
from vmr.cli.replay import parse_speed
from vmr.errors import InvalidInputError
from vmr.events import encode
from vmr.log import AsyncLog
from vmr.messages import STORED_HEADER
from vmr.replay.publishing import SEQUENCE_HEADER, TIME_HEADER, check_prefix


class Said(NamedTuple):
    """What a command said, and its exit code."""

    stdout: str
    stderr: str
    returncode: int


Run = Callable[..., Said]


@pytest.fixture
def run(saved: Saved, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return ``vmr`` as a function from words to what it said, for the database of the run."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(["--home", str(saved.settings.home), "--db", saved.settings.db, *words])
        printed = capsys.readouterr()
        return Said(printed.out, printed.err, code)

    return call


def test_lines_of_a_whole_run_and_of_a_part(saved: Saved, run: Run) -> None:
    """As fast as possible: every event in order, as lines or as JSON; between two moments only those; nothing hostile in it."""
    every = run("replay", str(saved.archive), "--speed", "max", "--json")
    assert [json.loads(line)["sequence"] for line in every.stdout.splitlines()] == list(range(1, 287)), every.stderr
    part = run("replay", str(saved.archive), "--speed", "max", "--from", "100", "--to", "102")
    lines = part.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == [100, 101, 102]
    assert "web-" in part.stdout
    assert "\x1b" not in run("replay", str(saved.archive), "--speed", "max").stdout


def test_mistakes_are_one_line(saved: Saved, run: Run) -> None:
    """A speed that is none, moments the wrong way round, subjects of the log's own, --verify with what it does not go with."""
    archive = str(saved.archive)
    for words in (
        ("--speed", "0"),
        ("--speed", "fast"),
        ("--speed", "step"),
        ("--from", "20", "--to", "10"),
        ("--from", "tomorrow"),
        ("--publish", "vmr.replayed"),
        ("--publish", "a..b"),
        ("--verify", "--to", "3"),
    ):
        wrong = run("replay", archive, *words)
        assert wrong.returncode == 2, words
        assert wrong.stderr.count("\n") == 1, wrong.stderr


async def test_events_on_subjects_of_their_own(saved: Saved, run: Run) -> None:
    """Another program gets every message byte for byte, in order, with its place in the headers; the log gets nothing."""
    async with await AsyncLog.connect(saved.settings) as log:
        before = await log.last_sequence()
        subscription = await log.connection.client.subscribe("replay.mine.>")
        await log.connection.client.flush()
        done = await asyncio.to_thread(run, "replay", str(saved.archive), "--speed", "max", "--publish", "replay.mine")
        assert done.returncode == 0, done.stderr
        assert "286 events are published on replay.mine.vmr.replayed.>" in done.stderr
        got = [await subscription.next_msg(timeout=5) for _ in range(286)]
        assert await log.last_sequence() == before
    expected = await asyncio.to_thread(list, vmr.events_of(saved.archive))
    assert [message.data for message in got] == [each.data for each in expected]
    assert [message.subject for message in got] == [f"replay.mine.{each.subject}" for each in expected]
    headers = got[99].headers or {}
    assert headers[SEQUENCE_HEADER] == "100"
    assert headers[STORED_HEADER] == str(expected[99].stored)
    assert headers[TIME_HEADER] == expected[99].event.time.isoformat(timespec="microseconds")
    assert encode(expected[99].event) == got[99].data


async def test_verify_says_what_it_found_by_its_exit_code(log: AsyncLog, tmp_path: Path, run: Run) -> None:
    """0 and a sentence for a whole record; --json for programs."""
    sealed = await sealed_archive(log, tmp_path / "run.zip")
    good = await asyncio.to_thread(run, "replay", "--verify", str(tmp_path / "run.zip"))
    assert good.returncode == 0, good.stderr
    assert f"what they were when the run ended (seal {sealed.sha256[:16]})" in good.stdout
    plain = await asyncio.to_thread(run, "replay", "--verify", "--json", str(tmp_path / "run.zip"))
    assert msgspec.json.decode(plain.stdout)["sealed"] == sealed.sha256


def test_a_terminal_shows_a_picture_that_obeys_keys(saved: Saved) -> None:
    """It counts VMs by state; steps, seeks and leaves at a key; and gives the terminal back as it was."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        os.execv(sys.executable, [sys.executable, "-m", "vmr", "replay", str(saved.archive), "--speed", "step"])  # noqa: S606
    shown = bytearray()

    def until(*words: str) -> None:
        deadline = time.monotonic() + 30
        while not all(word.encode() in shown for word in words):
            assert time.monotonic() < deadline, shown.decode(errors="replace")[-3000:]
            if select.select([terminal], [], [], 0.1)[0]:
                shown.extend(os.read(terminal, 1 << 16))

    until("event 0 of 286", "stepwise")
    os.write(terminal, b".")
    until("event 1 of 286", "resource.uploaded")
    os.write(terminal, b"\x1b[C")
    until("event 286 of 286", "configured", "40", "ended")
    assert os.waitpid(process, 0)[1] == 0
    os.close(terminal)
    assert b"\x1b[?25h" in shown  # the cursor is back


def test_files_of_other_programs_are_named(tmp_path: Path, run: Run) -> None:
    """A database that is none of vmr's, and a file of text: one line each, and no server is started for it."""
    duckdb.connect(str(tmp_path / "odd.duckdb")).close()
    (tmp_path / "odd.zip").write_text("hello")
    for name in ("odd.duckdb", "odd.zip"):
        file = str(tmp_path / name)
        for words in (("sql", "SELECT 1", "--source", file), ("open", file), ("replay", file), ("rerun", file)):
            wrong = run(*words)
            assert wrong.returncode in {1, 2}, words
            assert wrong.stderr.count("\n") == 1, wrong.stderr
            assert name in wrong.stderr


def test_speeds_and_prefixes() -> None:
    """What is a speed, and what may stand before a subject."""
    assert [parse_speed(text) for text in ("1", "10x", "0.5", "max", "step")] == [1, 10, 0.5, float("inf"), 0]
    assert check_prefix("replay.mine") == "replay.mine"
    for bad in ("vmr", "vmrq.x", "$JS.API", "_INBOX.x", "a.>", "a b", ""):
        with pytest.raises(InvalidInputError):
            check_prefix(bad)


def test_keys() -> None:
    """Characters and arrows; other sequences are no keys."""
    assert decode(b" .\x1b[A\x1b[Dq\x1b[Z]") == [" ", ".", "up", "left", "q", "]"]
