"""Wait until a guest's agent answers, or the guest ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from vmr.agent import GuestAgent
from vmr.errors import AgentDisconnectedError
from vmr.guests.processes import ProcessId, is_alive


async def until_answering(socket: Path, process: ProcessId, timeout_s: float) -> None:
    """Return once the agent behind ``socket`` has answered.

    Raises `AgentDisconnectedError` as soon as the guest's process has ended, and, after ``timeout_s`` seconds, the last try's
    `AgentDisconnectedError` or `AgentTimeoutError`.
    """
    agent = GuestAgent(socket)
    answered = asyncio.create_task(agent.wait_until_answers(timeout_s))
    ended = asyncio.create_task(until_ended(process))
    try:
        await asyncio.wait([answered, ended], return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise AgentDisconnectedError(f"{socket}: the guest ended before its agent answered")
        answered.result()
    finally:
        answered.cancel()
        ended.cancel()
        await asyncio.gather(answered, ended, return_exceptions=True)
        await agent.close()


async def until_ended(process: ProcessId) -> None:
    """Return when the process has ended, told by the kernel: nothing is polled."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, over.set)
    try:
        if is_alive(process):
            await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
