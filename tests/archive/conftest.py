"""A log with a run in it, whose queries are answered, and archives of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import pytest

from tests.archive.runs import publish_run
from tests.readmodel.conftest import serving
from vmr import query_service
from vmr.archive import create_archive
from vmr.log import AsyncLog
from vmr.server import EmbeddedServer
from vmr.settings import Settings


@pytest.fixture
async def queries(log: AsyncLog) -> AsyncIterator[AsyncLog]:
    """Yield an empty log, with its named queries being answered."""
    async with serving(query_service.main, log, "last_sequence"):
        yield log


@pytest.fixture
async def recorded(queries: AsyncLog) -> AsyncLog:
    """Return a log with one run of some hundred events."""
    await publish_run(queries)
    return queries


@pytest.fixture(scope="session")
def archived(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """Return settings of a database with such a run, which nobody changes, and an archive of it in parts of a hundred events."""
    settings = Settings(home=server.folder.parent, db=f"archived_{token_hex(6)}")
    path = tmp_path_factory.mktemp("archived") / "run.zip"

    async def make() -> None:
        connected = await AsyncLog.connect(settings, producer="test")
        async with connected as log, serving(query_service.main, log, "last_sequence"):
            await publish_run(log)
            await create_archive(log, None, path, part_events=100)

    asyncio.run(make())
    return settings, path


@pytest.fixture
def archive(archived: tuple[Settings, Path], tmp_path: Path) -> Path:
    """Return an archive of the test's own."""
    return Path(shutil.copy(archived[1], tmp_path / "run.zip"))


@pytest.fixture
async def archived_log(archived: tuple[Settings, Path]) -> AsyncIterator[AsyncLog]:
    """Yield the log that the archive was taken from, for reading."""
    async with await AsyncLog.connect(archived[0], create=False) as connected:
        yield connected
