"""A database with its services, as ``vmr up`` runs them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cli.operating import Terminal
from vmr.cli import main
from vmr.errors import VmrError
from vmr.log import Log, connect
from vmr.server import EmbeddedServer
from vmr.settings import Settings

PROGRAM = "from vmr.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="session")
def served(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Return settings for a database whose queries and SQL are answered; its tests share it, one after another."""
    settings = Settings(home=server.folder.parent, db="served")
    said = tmp_path_factory.mktemp("served") / "services.log"
    with connect(settings=settings) as log, said.open("w") as file:
        commands = [_arguments(settings, "service", name) for name in ("projector", "sql")]
        services = [subprocess.Popen(command, stderr=file) for command in commands]
        try:
            _until_answered(log, "last_sequence", {})
            _until_answered(log, "sql", {"sql": "SELECT 1"})
            yield settings
        finally:
            for service in services:
                service.terminate()
            codes = [service.wait(20) for service in services]
    assert codes == [0, 0], said.read_text()[-4000:]


@pytest.fixture
def served_log(served: Settings) -> Iterator[Log]:
    """Yield a connection to that database, at the beginning of a new run."""
    with connect(settings=served) as log:
        log.clear()
        yield log


@pytest.fixture
def vmr_arguments(served: Settings) -> Callable[..., list[str]]:
    """Return a function from ``vmr``'s words to the command line of a process for that database."""
    return lambda *words: _arguments(served, *words)


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


def _arguments(settings: Settings, *words: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "--home", str(settings.home), "--db", settings.db, *words]


def _until_answered(log: Log, query: str, params: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            log.query(query, params)
        except VmrError:
            if time.monotonic() > deadline:
                raise
        else:
            return
