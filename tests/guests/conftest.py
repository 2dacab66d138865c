"""Real guests for these tests. They never skip by themselves: a host that lacks something has to be told so, or has to say so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.real import real_guests
from vmr.agent import GuestAgent
from vmr.guests import Backend, record
from vmr.guests.readiness import until_ended

Shell = Callable[[GuestAgent, str], Awaitable[str]]


@pytest.fixture(scope="session")
def real() -> Callable[[str], Backend]:
    """Return a function that gives the backend of a kind, and fails the test when this host cannot have such guests."""
    return real_guests


@pytest.fixture(scope="session")
def shell() -> Shell:
    """Return a function that runs a script in a guest and returns what it printed; the script has to succeed."""

    async def run(agent: GuestAgent, script: str) -> str:
        done = await agent.run("/bin/sh", ["-c", script])
        assert done.exit_code == 0, done
        return bytes(done.stdout).decode()

    return run


@pytest.fixture(scope="session")
def ended() -> Callable[[Path, str], Awaitable[None]]:
    """Return a function that waits until a guest's process has ended."""

    async def wait(folder: Path, name: str) -> None:
        known = record.load(folder)
        guest = None if known is None else known.find(name)
        assert guest is not None
        assert guest.process is not None
        async with asyncio.timeout(10):
            await until_ended(guest.process)

    return wait
