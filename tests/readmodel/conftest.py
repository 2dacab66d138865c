"""A projector with the named queries, and SQL for people, beside the test's own log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from vmr import query_service, sql_service
from vmr.errors import ProjectorMissingError
from vmr.log import AsyncLog
from vmr.projector import Projector
from vmr.settings import Settings


@contextlib.asynccontextmanager
async def serving(
    main: Callable[[Settings], Coroutine[Any, Any, None]], log: AsyncLog, query: str
) -> AsyncIterator[None]:
    """Run ``main`` beside the test until its ``query`` has answered and the test is over."""
    task = asyncio.create_task(main(log.settings))
    try:
        async with asyncio.timeout(20):
            while not await _answers(log, query):
                assert not task.done(), task
                await asyncio.sleep(0.02)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _answers(log: AsyncLog, query: str) -> bool:
    try:
        await log.query(query, {"sql": "SELECT 1"} if query == "sql" else None)
    except ProjectorMissingError:
        return False
    return True


@pytest.fixture
async def queries(log: AsyncLog) -> AsyncIterator[AsyncLog]:
    """Yield the log, with its named queries being answered."""
    async with serving(query_service.main, log, "last_sequence"):
        yield log


@pytest.fixture
async def people(log: AsyncLog) -> AsyncIterator[AsyncLog]:
    """Yield the log, with SQL from people being answered."""
    async with serving(sql_service.main, log, "sql"):
        yield log


@pytest.fixture
def projector() -> Iterator[Projector]:
    """Yield a projector whose read model is in memory."""
    made = Projector()
    yield made
    made.close()
