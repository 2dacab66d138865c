"""A run of the size that people have: 3,003 VMs on seven hosts with 17,017 executions of entries, operators' pauses between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.readmodel.histories import BEGIN, record
from vmr import events
from vmr.events import KnownBody
from vmr.projector import Projector
from vmr.schedule import Entry

VMS = 3003
HOSTS = 7
ENTRIES = 17_017
_LINE = '{"time": 0.5}\n'


def _name(number: int) -> str:
    return f"vm-{number}"


def _plan(number: int) -> list[tuple[int, str]]:
    """Return time and name of the entries of one VM: five each, and a sixth for as many as it takes."""
    more = ENTRIES - 5 * VMS
    return [(-10, "setup"), *((10 * place, "work") for place in range(1, 6 if number < more else 5))]


def bodies() -> Iterator[KnownBody]:
    """Yield what the log says."""
    yield events.ExperimentLaunched(launch_time=BEGIN, name="many", guests="simulated")
    for number in range(VMS):
        entries = tuple(Entry(id=f"{time}/{name}", start_time=time, executable=name) for time, name in _plan(number))
        yield events.VmAdded(server_uuid=str(number), server_name=_name(number))
        yield events.HandlerAttached(server_uuid=str(number), handler=f"h{number % HOSTS}", host=f"lab{number % HOSTS}")
        yield events.SchedulePublished(server_name=_name(number), entries=entries)
        yield events.VmStateSet(server_uuid=str(number), state="configuring")
        yield from _runs(number, -10, "setup")
        yield events.VmStateSet(server_uuid=str(number), state="configured")
    yield events.ExperimentStarted(start_time=BEGIN)
    for round_ in range(1, 6):
        yield events.ExperimentPaused()
        yield events.ExperimentResumed()
        for number in range(VMS):
            if (10 * round_, "work") in _plan(number):
                yield from _runs(number, 10 * round_, "work")
    yield events.ExperimentEnded(reason="done")


def _runs(number: int, time: int, name: str) -> Iterator[KnownBody]:
    vm, entry = str(number), f"{time}/{name}"
    yield events.EntryStarted(
        server_uuid=vm, entry=entry, attempt=1, name=name, start_time=str(time), directory=f"/var/launch/{entry}"
    )
    yield events.OutputCaptured(
        server_uuid=vm, entry=entry, attempt=1, stream="stdout", offset=0, size=len(_LINE), text=_LINE
    )
    yield events.EntryFinished(
        server_uuid=vm, entry=entry, attempt=1, exit_code=0, stdout_size=len(_LINE), duration=0.5
    )


def fold(path: Path) -> int:
    """Fold the run into a read model at ``path``; return the number of its events."""
    projector = Projector(path)
    try:
        return projector.apply(record(bodies()))
    finally:
        projector.close()
