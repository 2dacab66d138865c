"""Runs for the tests of archives: every type of event, objects of every kind, names and outputs that are hard to keep."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from vmr import events
from vmr.events import KnownBody
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile

EXPERIMENT = "name: small\nvms: []\n"
LARGE = 30_000
NESTED = b"only a schedule that is an object speaks of this"


async def publish_run(log: AsyncLog, vms: int = 40, *, name: str = "small") -> int:
    """Record a run in ``log`` and return its last sequence: objects, schedules, ``vms`` VMs that do something, and the end."""
    program = await log.put_object(b"#!/bin/sh\necho hello\n" * 20)
    text = await log.put_object(EXPERIMENT.encode())
    entry = Entry(id="5/run", start_time=5, executable="run", files=(EntryFile(location="run", object=program),))
    await log.publish(
        events.ResourceUploaded(store="vm_resources", name="a.img", object=await log.put_object(bytes(1000)))
    )
    await log.put_schedule("web-0", [entry])
    wide = EntryFile(location="/etc/large", content="x" * LARGE)
    nested = EntryFile(location="/etc/nested", object=await log.put_object(NESTED))
    large = Entry(id="6/files", start_time=6, executable="run", files=(wide, nested))
    entries = await log.put_object(msgspec.json.encode([large]))
    await log.publish(events.SchedulePublished(server_name="web-1", entries_object=entries))
    await log.publish(
        events.ExperimentLaunched(launch_time=datetime.now(UTC), name=name, experiment=text, guests="simulated")
    )
    for number in range(vms):
        await log.publish_many(_life_of(number))
    await log.publish(events.ExperimentStarted(start_time=datetime(2026, 1, 31, 12, tzinfo=UTC)))
    return await log.publish(events.ExperimentEnded(reason="finished"))


def _life_of(number: int) -> list[KnownBody]:
    uuid = f"vm.{number} *>é"
    said: dict[str, Any] = {"server_uuid": uuid, "entry": "5/run", "attempt": 1}
    return [
        events.VmAdded(server_uuid=uuid, server_name=f"web-{number}"),
        events.VmStateSet(server_uuid=uuid, state="configured", reason="\x1b[31m\0"),
        events.EntryStarted(**said, name="run", start_time="5", due=datetime(2026, 1, 31, 12, tzinfo=UTC)),
        events.OutputCaptured(**said, stream="stdout", offset=0, size=2, data=b"\xff\x00"),
        events.OutputCaptured(**said, stream="stderr", offset=0, size=6, text="hällo"),
        events.EntryFinished(**said, exit_code=number, duration=0.25),
        events.VmTimeTicked(server_uuid=uuid, current_time="5"),
    ]
