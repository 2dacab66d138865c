"""The command line explains itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from vmr.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command and group with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ALL = list(commands(typer.main.get_command(app)))


def test_commands_are_found() -> None:
    """The checks below look at something."""
    assert {("log",), ("sql",), ("schedule", "import"), ("schedule", "check"), ("vm", "list"), ("vm", "mix")} <= {
        path for path, _ in ALL
    }


@pytest.mark.parametrize(
    ("path", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_option_and_argument_has_help(path: tuple[str, ...], command: Any) -> None:
    """A command, option or argument without a word of help fails here."""
    assert command.help, path
    for parameter in command.params:
        assert getattr(parameter, "help", None), (path, parameter.name)


@pytest.mark.parametrize(
    "path", [path for path, command in ALL if path and not hasattr(command, "commands")], ids=" ".join
)
def test_every_command_is_in_the_readme(path: tuple[str, ...]) -> None:
    """Whoever reads the table of commands knows them all; ``service`` is for the supervisor."""
    assert path == ("service",) or f"`vmr {' '.join(path)}" in README


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_is_printed(path: tuple[str, ...]) -> None:
    """``--help`` and ``-h`` work everywhere and need no server."""
    for option in ("--help", "-h"):
        result = CliRunner().invoke(app, [*path, option])
        assert result.exit_code == 0
        assert "Usage: " in result.output
