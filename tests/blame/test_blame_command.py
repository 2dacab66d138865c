"""``vmr blame``: what it prints."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compare.stories import Story, read_model
from tests.readmodel.recorded_run import recorded_run
from vmr.cli import main


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the read model of a recorded run."""
    return str(read_model(tmp_path_factory.mktemp("runs") / "run.duckdb", recorded_run()))


def test_tables(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The path, the totals, the slowest and the VMs are tables."""
    assert main(["blame", path, "--limit", "2"]) == 0
    said = capsys.readouterr()
    for part in (
        "critical path: client-3, 120.000 s to the start",
        "all VMs, before the start",
        "all VMs, after the start",
    ):
        assert part in said.out
    assert "slowest executions: 2 of " in said.err
    assert "VMs before the start, the last to be ready first; seconds: 2 of 4 are shown" in said.err


def test_json(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is one object; the run may be named by its number in the file."""
    assert main(["blame", f"{path}#2", "--vm", "server", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["vm"] == "server"
    assert found["run"]["seconds_before"] == 120
    assert sum(row["seconds"] for row in found["critical_path"]) == pytest.approx(120)


def test_hostile_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A VM's name reaches no terminal as control characters."""
    story = Story()
    story.added("\x1b[2Jname", ready=-50)
    story.started()
    assert main(["blame", str(story.read_model(tmp_path / "run.duckdb"))]) == 0
    printed = capsys.readouterr().out
    assert "\\x1b[2Jname" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{path}", "--vm", "nobody"], 2, "there is no VM 'nobody'"),
        (["none.duckdb"], 2, "there is no file none.duckdb"),
    ],
)
def test_bad_input(path: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    """One line names what is wrong."""
    assert main(["blame", *(word.replace("{path}", path) for word in words)]) == code
    assert message in capsys.readouterr().err


def test_a_file_whose_name_looks_like_markup(path: str, tmp_path: Path) -> None:
    """On a terminal, where progress is shown, a file may be called anything."""
    odd = tmp_path / "k[" / "b]"
    odd.parent.mkdir()
    shutil.copyfile(path, odd)
    words = shlex.join([sys.executable, "-m", "vmr", "blame", str(odd), "--limit", "1"])
    done = subprocess.run(
        ["script", "-qec", words, "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout
    assert "critical path" in done.stdout
