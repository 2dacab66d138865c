"""One recorded run for all tests of this folder: its log, a read model of it, and its archive; and a cache of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.archive.runs import publish_run
from tests.readmodel.conftest import serving
from vmr import query_service, sql_service
from vmr.archive import create_archive
from vmr.log import AsyncLog
from vmr.projector import Projector, whole
from vmr.server import EmbeddedServer
from vmr.settings import Settings


class Saved(NamedTuple):
    """A run in three places: the database of ``settings``, the file of a read model, an archive."""

    settings: Settings
    record: Path
    archive: Path


async def fold(log: AsyncLog, path: Path) -> Path:
    """Return a read model's file of everything in ``log``, as the projector makes it."""
    projector = Projector(path)
    async for batch in log.read():
        projector.apply([await whole(log, one) for one in batch])
    projector.close()
    return path


async def save(settings: Settings, folder: Path) -> Saved:
    """Record a run in the database of ``settings``, and keep it in ``folder`` as well."""
    async with await AsyncLog.connect(settings, producer="test") as log:
        async with serving(query_service.main, log, "last_sequence"):
            await publish_run(log)
            await create_archive(log, None, folder / "run.zip", part_events=100)
        return Saved(settings, await fold(log, folder / "run.duckdb"), folder / "run.zip")


@pytest.fixture(scope="session")
def saved(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Return the run, which nobody changes."""
    return asyncio.run(save(Settings(home=server.folder.parent, db="replayed"), tmp_path_factory.mktemp("saved")))


@pytest.fixture
def archive(saved: Saved) -> Path:
    """Return the archive of the run."""
    return saved.archive


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
async def asked(saved: Saved) -> AsyncIterator[AsyncLog]:
    """Yield the log of the run while its queries and SQL are answered."""
    async with (
        await AsyncLog.connect(saved.settings, producer="test") as log,
        serving(query_service.main, log, "last_sequence"),
        serving(sql_service.main, log, "sql"),
    ):
        yield log
