"""What operators did in a run, done again in another at the same times of the experiment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from vmr.clock import Clock
from vmr.events import ExperimentEnded, ExperimentLaunched, ExperimentStarted, ResourceUploaded, SchedulePublished
from vmr.log import AsyncLog
from vmr.replay.facts import Control, Origin
from vmr.schedule import ObjectRef
from vmr.subjects import entity_subject

_LONGEST: Final = 0.5
"""Seconds between two looks at the wall clock, which may be set meanwhile."""


def objects_of(controls: Sequence[Control]) -> list[ObjectRef]:
    """Return the objects that ``controls`` refer to, each once."""
    found = [control.body.object for control in controls if isinstance(control.body, ResourceUploaded)]
    found += [file.object for control in controls for entry in control.entries for file in entry.files if file.object]
    return list(dict.fromkeys(found))


async def put_objects(log: AsyncLog, files: Sequence[Path]) -> None:
    """Store what the controls need, before anything begins."""
    for file in files:
        await log.put_object(file)


async def play(log: AsyncLog, controls: Sequence[Control], begin: int, clock: Clock) -> int:
    """Do ``controls`` in the run that begins at the sequence ``begin``, each at its time; return how many were done when it ended.

    A pause that was recorded 12.345678 s after the start is recorded 12.345678 s after the new start.
    """
    origins: dict[Origin, asyncio.Future[datetime]] = {
        "launch": asyncio.get_running_loop().create_future(),
        "start": asyncio.get_running_loop().create_future(),
    }
    done = 0
    watching = asyncio.create_task(_watch(log, begin, origins))
    try:
        for control in controls:
            origin = origins[control.origin]
            either: set[asyncio.Future[Any]] = {origin, watching}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not origin.done() or not await _until(origin.result() + control.after, clock, watching):
                break
            await _do(log, control, origin.result() + control.after)
            done += 1
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return done


async def _watch(log: AsyncLog, begin: int, origins: dict[Origin, asyncio.Future[datetime]]) -> None:
    """Learn launch and start, and return when the run has ended."""
    async for batch in log.follow([entity_subject(log.db, "experiment", None, ">")], begin):
        for recorded in batch:
            match recorded.event.body:
                case ExperimentLaunched() if not origins["launch"].done():
                    origins["launch"].set_result(recorded.event.time)
                case ExperimentStarted(start_time=start) if not origins["start"].done():
                    origins["start"].set_result(start)
                case ExperimentEnded():
                    return
                case _:
                    pass


async def _until(due: datetime, clock: Clock, over: asyncio.Task[None]) -> bool:
    """Return True at the moment ``due``, and False when the run is over before."""
    while (left := (due - clock.now()) / timedelta(seconds=1)) > 0:
        sleep = asyncio.ensure_future(clock.sleep(min(left, _LONGEST)))
        await asyncio.wait({sleep, over}, return_when=asyncio.FIRST_COMPLETED)
        if over.done():
            sleep.cancel()
            return False
    return not over.done()


async def _do(log: AsyncLog, control: Control, due: datetime) -> None:
    if isinstance(control.body, SchedulePublished):
        await log.append_entries(control.body.server_name, control.entries)
    else:
        await log.publish(control.body, time=due)


def described(control: Control) -> str:
    """Return a control in words for people."""
    seconds = control.after / timedelta(seconds=1)
    fields = msgspec.to_builtins(control.body)
    whom = fields.get("server_name") or fields.get("server_uuid") or fields.get("name") or "all VMs"
    what = f"{len(control.entries)} more entries" if control.entries else control.body.type_name()
    return f"{control.origin} {seconds:+.3f} s: {what}, {whom}"
