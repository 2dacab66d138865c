"""A handler over a real log and simulated guests: what most of its tests need."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from vmr.events import (
    AgentAddress,
    Body,
    ExperimentLaunched,
    KnownBody,
    Recorded,
    SchedulePublished,
    VmAdded,
)
from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.schedule import Entry

HOST = "host"

B = TypeVar("B", bound=Body)


def program(time: float, name: str, arguments: str = "", **more: object) -> Entry:
    """Return an entry that runs a program; its id is ``<time>/<name>``."""
    return Entry(id=f"{time}/{name}", start_time=time, executable=name, arguments=arguments, **more)  # type: ignore[arg-type]


async def publish(log: AsyncLog, sockets: dict[str, Path], schedules: Mapping[str, Sequence[Entry]]) -> None:
    """Record VMs with their agents, their schedules, and the launch with a start that follows at once."""
    await log.publish_many(
        VmAdded(server_uuid=f"uuid-{name}", server_name=name, agent=AgentAddress(HOST, str(path)))
        for name, path in sockets.items()
    )
    await log.publish_many(SchedulePublished(server_name=name, entries=tuple(each)) for name, each in schedules.items())
    await log.publish(ExperimentLaunched(launch_time=datetime.now(UTC), start_buffer=0))


@contextlib.asynccontextmanager
async def handling(log: AsyncLog, folder: Path, host: str = HOST) -> AsyncIterator[Handler]:
    """Run a handler while the block lasts; an error of the handler is an error of the test."""
    handler = Handler(log, host, folder)
    task = asyncio.create_task(handler.run())
    try:
        yield handler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(log: AsyncLog, reached: Callable[[list[Recorded]], bool], timeout: float = 30.0) -> list[Recorded]:
    """Follow the log from its beginning until ``reached`` says so of all its events so far; return them."""
    events: list[Recorded] = []
    async with asyncio.timeout(timeout):
        async for batch in log.follow():
            events += batch
            if reached(events):
                return events
    raise AssertionError("the log ended")


def bodies(events: Sequence[Recorded], kind: type[B]) -> list[B]:
    """Return the bodies of this kind, in order."""
    return [each.event.body for each in events if isinstance(each.event.body, kind)]


def ended(count: int, kind: type[KnownBody]) -> Callable[[list[Recorded]], bool]:
    """Return whether there are ``count`` events of this kind."""
    return lambda events: len(bodies(events, kind)) >= count
