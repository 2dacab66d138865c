"""A database with its services, as ``vmr up`` runs them: one for all tests of a session, because each keeps files of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

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
        commands = [command(settings, "service", name) for name in ("projector", "sql")]
        services = [subprocess.Popen(each, stderr=file) for each in commands]
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


def command(settings: Settings, *words: str) -> list[str]:
    """Return the command line of a ``vmr`` process for the database of ``settings``."""
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
