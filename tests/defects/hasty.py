"""A handler that waits for nothing long: lost replies and pauses between tries take milliseconds instead of seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.handler.harness import HOST
from vmr.agent import GuestAgent
from vmr.agent_protocol import SMALL_REPLY
from vmr.clock import SystemClock
from vmr.guest import Guest
from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.vm_state import VmState

PATIENCE: Final = 0.4
LONGEST_SLEEP: Final = 0.05


class _Agent(GuestAgent):
    """A client that takes a reply for lost soon."""

    async def exchange(self, command: str, arguments: Any, timeout: float, limit: int = SMALL_REPLY) -> msgspec.Raw:
        """Send a command and wait shortly for its reply."""
        return await super().exchange(command, arguments, min(timeout, PATIENCE), limit)


class _Clock(SystemClock):
    """A clock whose sleeps are short."""

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not for long."""
        await super().sleep(min(seconds, LONGEST_SLEEP))


def _connect(vm: VmState) -> Guest:
    assert vm.agent is not None
    guest = Guest(Path(vm.agent.path), vm.name, _Clock())
    guest._agent = _Agent(Path(vm.agent.path), vm.name)
    return guest


@contextlib.asynccontextmanager
async def handling_hastily(log: AsyncLog, folder: Path) -> AsyncIterator[Handler]:
    """Run an impatient handler while the block lasts; an error of the handler is an error of the test."""
    handler = Handler(log, HOST, folder, clock=_Clock(), connect=_connect)
    task = asyncio.create_task(handler.run())
    try:
        yield handler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
