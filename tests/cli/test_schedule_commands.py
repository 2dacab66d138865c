"""``vmr schedule``: check and import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmr.cli import main
from vmr.experiment import load_experiment, parse_experiment

CUT = "x" * 80 + "..."
ROWS = {
    "host": [
        [-250, "set_hostname.sh", "host", [{"location": "h.sh", "filename": "h.sh", "executable": True}], False],
        [-1, "mv", "a /b", [{"location": "a", "content": CUT, "executable": False}], False],
    ]
}


@pytest.fixture
def schedules(tmp_path: Path) -> Path:
    """Return a file with FIREWHEEL's schedules."""
    path = tmp_path / "s.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return path


def test_import_to_a_file(schedules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is an experiment, and what to know about it stands on standard error."""
    output = schedules.with_name("out.yaml")
    arguments = ["schedule", "import", str(schedules), "-o", str(output), "--missing", "placeholder", "--end", "30"]
    assert main([*arguments, "--name", "imported", "--start-buffer", "2"]) == 0
    experiment = load_experiment(output)
    assert (experiment.name, experiment.start_buffer, experiment.end) == ("imported", 2, 30)
    assert [entry.id for entry in experiment.vms[0].entries] == ["-250/set_hostname.sh", "-1/mv"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "imported: 1 VM, 2 entries, 0 resources" in printed.err
    assert "1 content of 80 characters" in printed.err


def test_import_to_standard_output(schedules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file, the experiment is what is printed."""
    assert main(["schedule", "import", str(schedules), "--missing", "placeholder"]) == 0
    assert parse_experiment(capsys.readouterr().out, schedules).name == "s"


def test_import_with_resources_runs_from_where_it_is_written(schedules: Path) -> None:
    """The folder of files is found from the new file."""
    folder = schedules.parent / "vm_resources"
    folder.mkdir()
    (folder / "h.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    output = schedules.with_name("out.yaml")
    assert main(["schedule", "import", str(schedules), "-o", str(output), "--resources", str(folder)]) == 0
    assert load_experiment(output).resources == {"h.sh": folder / "h.sh"}
    assert "files: vm_resources\n" in output.read_text(encoding="utf-8")


def test_import_without_the_files_is_an_error(schedules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written, and both ways on are named."""
    output = schedules.with_name("out.yaml")
    assert main(["schedule", "import", str(schedules), "-o", str(output)]) == 2
    assert not output.exists()
    assert "--missing placeholder" in capsys.readouterr().err


def test_import_to_a_place_that_cannot_be_written(schedules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The place is named."""
    output = schedules.parent / "no" / "such" / "out.yaml"
    assert main(["schedule", "import", str(schedules), "-o", str(output), "--missing", "placeholder"]) == 2
    assert f"{output}: cannot be written" in capsys.readouterr().err


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A right file is summed up; a wrong one is exit code 2 with every problem."""
    path = tmp_path / "e.yaml"
    path.write_text("name: t\nvms: {a: {schedule: [{at: 1, run: x}]}}\n", encoding="utf-8")
    assert main(["schedule", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: t: 1 VM, 1 entry, 0 resources\n"
    path.write_text("name: t\nvms: {a: {schedule: [{at: 0, run: x}, {at: 1}]}}\n", encoding="utf-8")
    assert main(["schedule", "check", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
