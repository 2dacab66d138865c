"""``vmr archive`` and ``vmr log truncate``, as an operator types them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.archive.runs import publish_run
from vmr.archive import open_archive
from vmr.cli import main
from vmr.log import AsyncLog

Vmr = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def vmr(recorded: AsyncLog, capsys: pytest.CaptureFixture[str]) -> Vmr:
    """Return ``vmr`` for the recorded run's database: from words to exit code, standard output and standard error."""
    words_before = ["--home", str(recorded.settings.home), "--db", recorded.db]

    async def call(*words: object) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [*words_before, *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


async def test_a_run_becomes_a_file_and_a_file_a_run(recorded: AsyncLog, vmr: Vmr, tmp_path: Path) -> None:
    """Without the word create, with it, and with options before the run; verified; imported; archived again, alike."""
    last = await recorded.last_sequence()
    code, out, err = await vmr("archive", "small", "-o", tmp_path / "a.zip")
    assert (code, out) == (0, "")
    with open_archive(tmp_path / "a.zip") as archive:
        chain = archive.manifest.chain
    assert f"run 1: {last} events (1 to {last}) are in {tmp_path}/a.zip; hash chain {chain}" in err
    for words in (["-o", tmp_path / "b.zip", "1"], ["create", "--output", tmp_path / "c.zip"]):
        code, _, err = await vmr("archive", *words)
        assert code == 0
        assert chain in err
    code, out, _ = await vmr("archive", "verify", tmp_path / "b.zip")
    assert (code, out) == (0, f"{tmp_path}/b.zip is whole: events 1 to {last}, hash chain {chain}\n")
    code, _, err = await vmr("archive", "import", tmp_path / "b.zip", "--db", f"{recorded.db}z")
    assert (code, f"are in database {recorded.db}z" in err) == (0, True)


async def test_damage_is_told_with_an_exit_code(vmr: Vmr, tmp_path: Path) -> None:
    """For people on standard error, for programs as JSON."""
    await vmr("archive", "-o", tmp_path / "a.zip", "--until", 100)
    os.truncate(tmp_path / "a.zip", 9_000)
    code, out, err = await vmr("archive", "verify", tmp_path / "a.zip")
    assert (code, out) == (1, "")
    assert "the first bad event is 1: it cannot be read" in err
    code, out, _ = await vmr("archive", "verify", tmp_path / "a.zip", "--json")
    found = json.loads(out)
    assert (code, found["whole"], found["first_bad"], found["last"]) == (1, False, 1, 100)


async def test_what_is_wrong_is_one_line(vmr: Vmr, tmp_path: Path) -> None:
    """A run that is not there, a file that is no archive, an option that is missing."""
    (tmp_path / "letter").write_text("hello")
    for words, wanted, said in (
        (["archive", "nothing", "-o", tmp_path / "x.zip"], 2, "there is no run 'nothing'"),
        (["archive", "verify", tmp_path / "letter"], 1, "letter is no archive of vmr's"),
        (["archive", "import", tmp_path / "letter"], 1, "letter is no archive of vmr's"),
        (["archive", "1"], 2, "Missing option '--output'"),
        (["log", "truncate", "--before", "1", "--archive", tmp_path / "letter"], 2, "the log has none before it"),
    ):
        code, _, err = await vmr(*words)
        assert code == wanted, err
        assert said in err


async def test_the_log_is_shortened(recorded: AsyncLog, vmr: Vmr, tmp_path: Path) -> None:
    """After that it prints from the second run on; `vmr log` itself goes on as before."""
    await vmr("archive", "-o", tmp_path / "1.zip")
    first = await recorded.clear()
    await publish_run(recorded, 1, name="second")
    code, _, err = await vmr("log", "truncate", "--before", "second", "--archive", tmp_path / "1.zip")
    assert (code, err) == (0, f"{first - 1} events were removed; the log begins with event {first}, of run 2\n")
    code, out, _ = await vmr("log", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["sequence"] == first
