"""One run, recorded by hand: a server that reboots, a late client, a lost attempt, a waived VM, a pause, a break, a late entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from vmr import events
from vmr.events import KnownBody, Recorded
from vmr.schedule import Entry, Pause, Transfer

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVER, ONE, TWO, THREE = "s", "c1", "c2", "c3"
NAMES = {SERVER: "server", ONE: "client-1", TWO: "client-2", THREE: "client-3"}
SHA = "ab" * 32
FETCH = Entry(id="10/fetch.sh", start_time=10, executable="fetch.sh")
EXTRA = Entry(id="25/extra.sh", start_time=25, executable="extra.sh")
SCHEDULES = {
    SERVER: (
        Entry(id="-20/reboot.sh", start_time=-20, executable="reboot.sh"),
        Entry(id="1/serve.sh", start_time=1, executable="serve.sh"),
        Entry(id="22/logs", start_time=22, transfer=Transfer(location="/var/log/access")),
        Entry(id="40/break", start_time=40, pause=Pause()),
    ),
    ONE: (
        Entry(id="-10/hostname", start_time=-10, executable="hostname"),
        FETCH,
        Entry(id="20/long.sh", start_time=20, executable="long.sh"),
    ),
    TWO: (FETCH,),
    THREE: (FETCH, Entry(id="30/cleanup.sh", start_time=30, executable="cleanup.sh")),
}


def moment(second: float) -> datetime:
    """Return the time that is ``second`` seconds after the start."""
    return START + timedelta(seconds=second)


def _started(vm: str, entry: str, due: float | None = None, attempt: int = 1) -> KnownBody:
    time, name = entry.split("/")
    return events.EntryStarted(
        server_uuid=vm,
        entry=entry,
        attempt=attempt,
        name=name,
        start_time=time,
        due=None if due is None else moment(due),
        directory=f"/var/launch/{entry}",
    )


def _finished(
    vm: str, entry: str, code: int | None, duration: float | None = None, attempt: int = 1, *, reboot: bool = False
) -> KnownBody:
    return events.EntryFinished(
        server_uuid=vm, entry=entry, attempt=attempt, exit_code=code, duration=duration, reboot=reboot
    )


def _wrote(vm: str, entry: str, offset: int, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> KnownBody:
    return events.OutputCaptured(
        server_uuid=vm, entry=entry, attempt=1, stream=stream, offset=offset, size=len(text), text=text
    )


def _state(vm: str, state: str, reason: str = "") -> KnownBody:
    return events.VmStateSet(server_uuid=vm, state=state, reason=reason)


def _schedule(vm: str, *more: Entry) -> KnownBody:
    return events.SchedulePublished(server_name=NAMES[vm], entries=SCHEDULES[vm] + more)


def _rehearsal() -> Iterator[tuple[float, KnownBody]]:
    yield -3600, events.ExperimentLaunched(launch_time=moment(-3600), name="rehearsal")
    yield -3600, events.VmAdded(server_uuid="old", server_name="old")
    yield -3590, _started("old", "5/x", -3590)
    yield -3500, _finished("old", "5/x", 1, 90.0)
    yield -3400, events.ExperimentEnded(reason="done")
    yield -600, events.ExperimentCleared()


def _configuring() -> Iterator[tuple[float, KnownBody]]:
    yield -120, events.ExperimentLaunched(launch_time=moment(-120), name="simple-server", start_buffer=10)
    for vm, name in NAMES.items():
        yield -119, events.VmAdded(server_uuid=vm, server_name=name, control_ip="10.0.0.1")
    for vm in NAMES:
        yield -118, _schedule(vm)
    for vm in NAMES:
        yield -110, events.HandlerAttached(server_uuid=vm, handler="h1", host="lab1")
        yield -105, _state(vm, "configuring")
    yield -104, _state(TWO, "configured")
    yield -104, _started(ONE, "-10/hostname")
    yield -103, _finished(ONE, "-10/hostname", 0, 0.5)
    yield -103, _state(ONE, "configured")
    yield -94, _started(SERVER, "-20/reboot.sh")
    yield -93, _finished(SERVER, "-20/reboot.sh", 10, 1.0, reboot=True)
    yield -80, events.VmRebooted(server_uuid=SERVER, entries=("-20/reboot.sh",), boot_id="boot-2")
    yield -79, _started(SERVER, "-20/reboot.sh", attempt=2)
    yield -78, _finished(SERVER, "-20/reboot.sh", 0, 0.25, attempt=2)
    yield -75, _state(SERVER, "configured", "all negative entries ran")
    yield -60, _state(THREE, "failed", "the agent did not answer")
    yield -60, events.VmWaived(server_uuid=THREE, reason="goes on without it")
    yield -59, events.ExperimentStarted(start_time=START)


def _running() -> Iterator[tuple[float, KnownBody]]:
    yield 1, events.VmTimeTicked(server_uuid=SERVER, current_time="1")
    yield 1, _started(SERVER, "1/serve.sh", 1)
    yield 10, _started(ONE, "10/fetch.sh", 10)
    yield 10.1, events.EntryFailed(server_uuid=THREE, entry="10/fetch.sh", attempt=1, error="the agent is gone")
    yield 10.5, _started(TWO, "10/fetch.sh", 10)
    yield 12, _wrote(ONE, "10/fetch.sh", 0, '{"time": 1.95}\n')
    yield 12, _finished(ONE, "10/fetch.sh", 0, 1.95)
    yield 13, _wrote(TWO, "10/fetch.sh", 0, '{"tim')
    yield 13, _wrote(TWO, "10/fetch.sh", 0, "Warning: slow link\n", "stderr")
    yield 13.4, _wrote(TWO, "10/fetch.sh", 3, 'ime": 2.88}\n')
    yield 13.5, _finished(TWO, "10/fetch.sh", 0, 2.88)
    yield 15, events.ExperimentPaused()
    yield 16, _schedule(TWO, EXTRA)
    yield 20, events.ExperimentResumed()
    yield 25, _started(ONE, "20/long.sh", 25)
    yield 27, _started(SERVER, "22/logs", 27)
    yield (
        27.5,
        events.FileTransferred(
            server_uuid=SERVER,
            entry="22/logs",
            guest_path="/var/log/access",
            host_path="/runs/access",
            size=42,
            sha256=SHA,
        ),
    )
    yield 27.5, _finished(SERVER, "22/logs", None, 0.5)
    yield 33.25, _started(TWO, "25/extra.sh", 30)
    yield 33.5, _wrote(TWO, "25/extra.sh", 0, "extra: no such file\n", "stderr")
    yield 34, _finished(TWO, "25/extra.sh", 3, 0.5)
    yield 40, events.VmRebooted(server_uuid=ONE, boot_id="boot-9")
    yield 40, events.EntryLost(server_uuid=ONE, entry="20/long.sh", attempt=1, reason="the guest rebooted")
    yield 45, _started(SERVER, "40/break", 45)
    yield 60, events.VmResumed(server_uuid=SERVER)
    yield 60, _finished(SERVER, "40/break", None)
    yield 70, events.ExperimentEnded(reason="done")


def recorded_run() -> list[Recorded]:
    """Return the log: a short rehearsal, which is run 1, and the run."""
    return [_record(sequence, second, body) for sequence, (second, body) in enumerate(_told(), 1)]


def recorded_bodies() -> list[KnownBody]:
    """Return what the log says, to publish it: then the times are those of the publishing."""
    return [body for _, body in _told()]


def _told() -> list[tuple[float, KnownBody]]:
    return [*_rehearsal(), *_configuring(), *_running()]


def _record(sequence: int, second: float, body: KnownBody) -> Recorded:
    time = moment(second)
    identity = f"0190a0b0-0000-7000-8000-{sequence:012x}"
    event = events.Event(id=identity, time=time, producer="operator", body=body)
    stored = int(time.timestamp() * 1000) * 1_000_000
    return Recorded(sequence=sequence, stored=stored, subject=events.subject_of("test", body), event=event)
