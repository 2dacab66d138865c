"""A recorded run on disk, and a terminal for `vmr`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.readmodel.recorded_run import recorded_run
from tests.shell.terminal import Terminal, command_line
from vmr.offline import OfflineReader, open_offline
from vmr.projector import Projector
from vmr.sql_service import READ_MODEL


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder whose database ``prod`` holds the recorded run; no server runs there."""
    home = tmp_path_factory.mktemp("recorded")
    projector = Projector(home / "db" / "prod" / READ_MODEL)
    projector.apply(recorded_run())
    projector.close()
    return home


@pytest.fixture
def offline(home: Path) -> Iterator[OfflineReader]:
    """Yield a reader of the recorded run."""
    with open_offline(home / "db" / "prod" / READ_MODEL) as reader:
        yield reader


@pytest.fixture
def terminal(home: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts ``vmr`` with its words, for that home, on a terminal of its own."""
    started: list[Terminal] = []

    def start(*words: str, at: Path = home, **environment: str) -> Terminal:
        terminal = Terminal(command_line(at, *words), XDG_STATE_HOME=str(tmp_path), **environment)
        started.append(terminal)
        return terminal

    yield start
    for terminal in started:
        terminal.close()
