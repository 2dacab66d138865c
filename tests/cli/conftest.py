"""The command line, in this process and in others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.operating import Terminal
from tests.served import command
from vmr.cli import main
from vmr.settings import Settings


@pytest.fixture
def vmr_arguments(served: Settings) -> Callable[..., list[str]]:
    """Return a function from ``vmr``'s words to the command line of a process for that database."""
    return lambda *words: command(served, *words)


@pytest.fixture
def vmr(served: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return ``vmr`` for that database as a function from words to standard output; it must succeed."""

    def call(*words: str) -> str:
        capsys.readouterr()
        code = main(["--home", str(served.home), "--db", served.db, *words])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return call


@pytest.fixture
def terminal(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return an operator's terminal for a database of the test's own; no projector runs."""
    return Terminal(settings, capsys)
