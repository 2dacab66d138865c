"""What docs/replay.md shows works as it is printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmr import contract
from vmr.cli import app

DOCUMENT = contract.streams().parent / "docs" / "replay.md"


@pytest.mark.parametrize("number", range(2))
def test_the_python_examples_run(number: int, archive: Path, tmp_path: Path) -> None:
    """Each, as it stands, on an archive of that name."""
    shutil.copyfile(archive, tmp_path / "run.zip")
    example = re.findall(r"```python\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)[number]
    done = subprocess.run(
        [sys.executable, "-c", example.replace("client-1", "web-1").replace(', until="start+30s"', "")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "web-1" in done.stdout or "vm.1 *>" in done.stdout


def test_every_option_is_one_of_its_command() -> None:
    """No command of the page has an option that it does not know."""
    import typer.main  # noqa: PLC0415 - only here

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^    vmr (open|replay|rerun|ask|sql) (.*?)(?: +#.*)?$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(lines) >= 12
    for name, rest in lines:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        used = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
        assert used <= known, (name, used - known)
