"""The read model's services outlive the server: it dies, it comes back, and they answer again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.readmodel.conftest import serving
from vmr import events, query_service, sql_service
from vmr.errors import LogUnavailableError
from vmr.log import AsyncLog
from vmr.server import EmbeddedServer
from vmr.settings import Settings


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """Yield a server that the test may kill."""
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    await server.start(die_with_parent=True)
    yield server
    await server.stop()


async def _kill(server: EmbeddedServer) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        while server.is_running():  # noqa: ASYNC110 - another process is dying
            await asyncio.sleep(0.01)


async def _states(log: AsyncLog) -> list[tuple[str, str]]:
    """Return what both services say of the VMs, once they answer."""
    async with asyncio.timeout(30):
        while True:
            try:
                named = await log.query("vm_states", timeout=5)
                sql = await log.query("sql", {"sql": "SELECT server_uuid, server_name, state FROM vms"}, timeout=5)
            except LogUnavailableError:
                await asyncio.sleep(0.05)
            else:
                assert named.rows == sql.rows
                return [(row[0], row[2]) for row in named.rows]


async def test_queries_go_on_when_the_server_was_killed(own: EmbeddedServer, tmp_path: Path) -> None:
    """After `kill -9` of the server and its return, what is published is folded once and both services answer."""
    async with (
        await AsyncLog.connect(Settings(home=tmp_path), producer="test") as log,
        serving(query_service.main, log, "last_sequence"),
        serving(sql_service.main, log, "sql"),
    ):
        await log.publish(events.VmAdded(server_uuid="a", server_name="a"))
        assert await _states(log) == [("a", "uninitialized")]
        for number in range(2):
            await _kill(own)
            await own.start(die_with_parent=True)
            await log.publish(events.VmStateSet(server_uuid="a", state=f"after {number}"))
            assert await _states(log) == [("a", f"after {number}")]
