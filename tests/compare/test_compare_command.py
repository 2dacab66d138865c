"""``vmr compare``: what it prints, and what its exit code says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.compare.stories import START, Story, program, read_model
from tests.readmodel.histories import record
from vmr import events
from vmr.cli import main


def told(code: int = 0, text: bytes = b"same\n") -> Story:
    """Return a run of one VM and one program."""
    story = Story(f"{code}{len(text)}")
    story.added("web", program(5, "serve"))
    story.started()
    story.ran("web", "5/serve", 5, 2.0, code)
    story.wrote("web", "5/serve", 6, text)
    return story


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with read models of runs that are the same, and that differ."""
    made = tmp_path_factory.mktemp("runs")
    told().read_model(made / "before.duckdb")
    told().read_model(made / "same.duckdb")
    told(3, b"\x1b[31mred\x07\n").read_model(made / "other.duckdb")
    return made


def test_alike(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that are alike: exit code 0."""
    assert main(["compare", str(folder / "before.duckdb"), str(folder / "same.duckdb")]) == 0
    assert "1 executions are in both; the runs are alike" in capsys.readouterr().out


def test_different(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that differ: exit code 1, and tables of what differs, without a guest's control characters."""
    assert main(["compare", str(folder / "before.duckdb"), str(folder / "other.duckdb")]) == 1
    said = capsys.readouterr()
    assert "executions that ended differently: 1" in said.out
    assert "\\x1b[31mred\\x07" in said.out
    assert "\x1b" not in said.out
    assert "the runs differ" in said.out


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is one object with everything; its text has no control characters either."""
    assert main(["compare", str(folder / "before.duckdb"), str(folder / "other.duckdb"), "--json"]) == 1
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert found["differs"] is True
    assert found["differences"]["output_differs"][0]["b"] == "\x1b[31mred\x07"
    assert printed.count("\n") == 1
    assert not [character for character in printed if ord(character) < 32 and character != "\n"]


def test_tolerances(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left out makes no difference."""
    words = ["compare", str(folder / "before.duckdb"), str(folder / "other.duckdb")]
    assert main([*words, "--ignore", "5/*"]) == 0
    assert main([*words, "--ignore-output", "--limit", "0"]) == 1
    assert "executions that ended differently: 0 of 1 are shown" in capsys.readouterr().err


def test_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--html writes the page beside what is printed."""
    page = tmp_path / "difference.html"
    assert main(["compare", str(folder / "before.duckdb"), str(folder / "other.duckdb"), "--html", str(page)]) == 1
    assert "The runs differ" in page.read_text(encoding="utf-8")
    assert str(page) in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.duckdb"], "there is no file nothing.duckdb"),
        (["{folder}/text.duckdb"], "is no record of vmr that can be read"),
        (["{folder}/same.duckdb#9"], "there is no run '9'"),
        (["{folder}/same.duckdb", "--duration-ratio", "0.5"], "--duration-ratio 0.5: give a number from 1 on"),
        (["{folder}/same.duckdb", "--lateness-seconds", "nan"], "give a number from 0 on"),
        (
            ["{folder}/same.duckdb", "--html", "{folder}/none/x.html"],
            "none/x.html: cannot be written: there is no folder ",
        ),
    ],
)
def test_no_comparison(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    """Runs that could not be compared: exit code 2, whatever the cause, and one line that names it."""
    (folder / "text.duckdb").write_text("no database")
    before = sorted(folder.iterdir())
    given = [word.replace("{folder}", str(folder)) for word in words]
    assert main(["compare", str(folder / "before.duckdb"), *given]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("run", ["", "#1"])
def test_no_room(folder: Path, tmp_path: Path, run: str) -> None:
    """Where there is no room for the page, or for what is worked with, it says so with exit code 2 and leaves nothing behind."""
    before = folder / "before.duckdb"
    if run:
        before = tmp_path / "two.duckdb"
        second = told().recorded()
        first: list[events.KnownBody] = [events.ExperimentLaunched(launch_time=START), events.ExperimentCleared()]
        read_model(
            before, [*record(first), *(msgspec.structs.replace(each, sequence=each.sequence + 2) for each in second)]
        )
    page = tmp_path / "page.html"
    words = [f"{before}{run}", str(folder / "other.duckdb"), "--html", str(page)]
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "-", sys.executable, "-B", "-m", "vmr", "compare", *words]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("page*"))
