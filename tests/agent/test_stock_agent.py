"""The client against the stock guest agent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.agent.agent_contract import AgentContract
from tests.agent.backends import StockAgent
from tests.agent.spool_contract import SpoolContract, directory
from vmr.agent import GuestAgent
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError


@pytest.fixture
def backend() -> Iterator[StockAgent]:
    """Yield a running stock agent in a folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    stock = StockAgent(folder)
    yield stock
    stock.close()
    shutil.rmtree(folder)


@pytest.fixture
async def agent(backend: StockAgent) -> AsyncIterator[GuestAgent]:
    """Yield a connected client."""
    client = GuestAgent(backend.socket, "stock")
    await client.wait_until_answers(10)
    yield client
    await client.close()


__all__ = ["directory"]  # a fixture


class TestStockSpool(SpoolContract):
    """The scripts in a real shell."""


class TestStockAgent(AgentContract):
    """The contract, and what only a real agent can show."""

    async def test_a_refused_shutdown_is_an_error(self, agent: GuestAgent) -> None:
        """The refusal comes although success would not be answered; the connection is in step afterwards."""
        with pytest.raises(AgentError, match="disabled"):
            await agent.shutdown("powerdown")
        await agent.ping()

    async def test_an_environment_replaces_the_agents(self, agent: GuestAgent) -> None:
        """A program sees the variables that it is given, and no others."""
        assert (await agent.run("/usr/bin/env", env=["A=b c"])).stdout == b"A=b c\n"

    async def test_more_clients_than_the_agent_queues(self, agent: GuestAgent, backend: StockAgent) -> None:
        """A full queue is told as such, and ends when a client leaves."""
        waiting = [GuestAgent(backend.socket) for _ in range(4)]
        refusals = []
        for client in waiting:
            with pytest.raises(AgentTimeoutError) as refusal:
                await client.connect(0.05)
            refusals.append(str(refusal.value))
        assert "is busy" in refusals[-1]
        await agent.close()
        for client in waiting:
            await client.connect(5)
            await client.ping()
            await client.close()

    async def test_nothing_listens(self, agent: GuestAgent, backend: StockAgent) -> None:
        """A socket that is not there, or that nobody serves, is told with its path; waiting for it is bounded."""
        missing = GuestAgent(backend.socket.with_name("none"), "vm1")
        with pytest.raises(AgentDisconnectedError, match=r"guest vm1: cannot connect to .*none: ENOENT"):
            await missing.connect()
        with pytest.raises(AgentDisconnectedError, match="ENOENT") as late:
            await missing.wait_until_answers(0.05)
        assert late.value.__notes__ == ["waited 0.05 s for an answer"]
        backend.close()
        with pytest.raises(AgentDisconnectedError, match="ECONNREFUSED"):
            await GuestAgent(backend.socket).connect()

    async def test_a_path_that_no_socket_can_have(self) -> None:
        """A path over the system's limit is told as such."""
        with pytest.raises(AgentDisconnectedError, match="too long"):
            await GuestAgent("/" + "x" * 200).connect()
