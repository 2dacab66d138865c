"""A log with a run in it, whose queries are answered, and archives of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.archive.runs import publish_run
from tests.readmodel.conftest import serving
from vmr import query_service
from vmr.archive import create_archive
from vmr.log import AsyncLog


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


@pytest.fixture
async def archive(recorded: AsyncLog, tmp_path: Path) -> Path:
    """Return an archive of that run, in parts of a hundred events."""
    path = tmp_path / "run.zip"
    await create_archive(recorded, None, path, part_events=100)
    return path
