"""What tests share: a real server for the whole session, a database of its own for each test, a connection to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from secrets import token_hex

import pytest
import structlog

from tests.served import served, served_log
from vmr.log import AsyncLog
from vmr.logging import quiet_by_default
from vmr.server import EmbeddedServer
from vmr.settings import Settings

__all__ = ["served", "served_log"]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Take back what a test that runs a command in this process has done to the logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    quiet_by_default()


@pytest.fixture(autouse=True)
def _as_wide_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be as wide as they are in files, whatever terminal the tests are started from."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Yield a running server that all tests share. A test that kills its server makes one of its own."""
    running = EmbeddedServer(Settings(home=tmp_path_factory.mktemp("home")).server_dir)
    asyncio.run(running.start(die_with_parent=True))
    yield running
    asyncio.run(running.stop())


@pytest.fixture
def settings(server: EmbeddedServer) -> Settings:
    """Return settings for the shared server with a database that no other test has."""
    return Settings(home=server.folder.parent, db=f"test_{token_hex(6)}")


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[AsyncLog]:
    """Yield a connection to a new, empty log."""
    async with await AsyncLog.connect(settings, producer="test") as connected:
        yield connected
