"""What the command line does about errors, and what it prints about itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vmr import __version__
from vmr.cli import main
from vmr.errors import InvalidInputError
from vmr.log import connect
from vmr.settings import Settings


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is one line on standard output."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vmr {__version__}\n"


def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, nothing on standard output."""
    assert main(["schedule", "check", str(tmp_path / "none.yaml")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_what_fails_is_exit_code_1_and_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is not there is no fault of the command's."""
    assert main(["--home", str(tmp_path), "log"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "vmr up" in line


@pytest.mark.parametrize("arguments", [["bogus"], ["log", "--bogus"], ["sql"], ["log", "--from", "0"]])
def test_unknown_words_are_exit_code_2(arguments: list[str]) -> None:
    """What the command line does not know is wrong input."""
    assert main(arguments) == 2


def test_debug_shows_where_an_error_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --debug or VMR_DEBUG the error itself arrives."""
    arguments = ["schedule", "check", str(tmp_path / "none.yaml")]
    with pytest.raises(InvalidInputError):
        main(["--debug", *arguments])
    monkeypatch.setenv("VMR_DEBUG", "1")
    with pytest.raises(InvalidInputError):
        main(arguments)


def test_wrong_database_name_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shared options are checked like everything else."""
    assert main(["--home", str(tmp_path), "--db", "a.b", "log"]) == 2
    assert "database name 'a.b'" in capsys.readouterr().err


def test_interrupted_is_exit_code_130(settings: Settings) -> None:
    """Ctrl-C ends a command that would go on for ever, without a traceback."""
    with connect(settings=settings) as log:
        log.add_vm("u", "first")
    command = [sys.executable, "-c", "from vmr.cli import main; raise SystemExit(main())", "--home", str(settings.home)]
    following = subprocess.Popen(
        [*command, "--db", settings.db, "log", "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  # tests have one thread
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    with following:
        assert following.stdout is not None
        assert "first" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=20)
    assert following.returncode == 130
    assert errors == ""
