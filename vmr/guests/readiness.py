"""Wait until a guest's agent answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from vmr.errors import AgentDisconnectedError, AgentTimeoutError

_TRY_S = 15.0  # a request that a rebooting agent swallowed is asked again after this
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2


async def until_answering(socket: Path, alive: Callable[[], bool], timeout_s: float) -> None:
    """Return once the agent behind ``socket`` has answered a synchronisation.

    Raises `AgentDisconnectedError` when ``alive`` says that the guest has ended, `AgentTimeoutError` after ``timeout_s`` seconds.
    """
    deadline, pause = time.monotonic() + timeout_s, _FIRST_PAUSE_S
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError):  # not there yet, closed, or no answer in time
            async with asyncio.timeout(min(left, _TRY_S)):
                await _synchronise(socket)
                return
        if not alive():
            raise AgentDisconnectedError(f"{socket}: the guest ended before its agent answered")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)
    raise AgentTimeoutError(f"{socket}: the guest's agent did not answer within {timeout_s:.0f} s")


async def _synchronise(socket: Path) -> None:
    """Ask for a random number back, as the agent's schema prescribes for a new connection (guest-sync-delimited after 0xFF)."""
    reader, writer = await asyncio.open_unix_connection(socket)
    number = secrets.randbits(31)
    try:
        request = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        writer.write(b"\xff" + msgspec.json.encode(request) + b"\n")
        while not _answers(await reader.readline(), number):
            if reader.at_eof():
                raise AgentDisconnectedError(f"{socket}: closed before it answered")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _answers(line: bytes, number: int) -> bool:
    try:
        return bool(msgspec.json.decode(line.rpartition(b"\xff")[2]) == {"return": number})
    except msgspec.MsgspecError:
        return False
