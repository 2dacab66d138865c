"""Runs told step by step, as the log would hold them: for tests of what looks at whole runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from vmr import events
from vmr.events import KnownBody, Recorded, StreamName
from vmr.projector import Projector
from vmr.schedule import Entry, Pause, Transfer

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def moment(second: float) -> datetime:
    """Return the time that is ``second`` seconds after the start of the experiment."""
    return START + timedelta(seconds=second)


class Story:
    """One run, whose steps may be told in any order; seconds count from the start of the experiment."""

    def __init__(self, identity: str = "") -> None:
        """Tell of VMs whose identities begin with ``identity``: they are others in every run."""
        self._identity = identity
        self._steps: list[tuple[float, KnownBody]] = []

    def uuid(self, vm: str) -> str:
        """Return the identity of the VM of this name."""
        return f"{self._identity}{vm}"

    def say(self, second: float, *bodies: KnownBody) -> None:
        """Let ``bodies`` happen at ``second``."""
        self._steps += [(second, body) for body in bodies]

    def added(self, vm: str, *entries: Entry, at: float = -100, ready: float | None = -50) -> None:
        """Add a VM with a schedule; a handler takes it 1 s later, reaches its agent after 2 s, and it is ready at ``ready``."""
        uuid = self.uuid(vm)
        self.say(at, events.VmAdded(server_uuid=uuid, server_name=vm))
        self.say(at, events.SchedulePublished(server_name=vm, entries=entries))
        self.say(at + 1, events.HandlerAttached(server_uuid=uuid, handler="h1", host="lab1"))
        self.say(at + 3, events.VmStateSet(server_uuid=uuid, state="configuring"))
        if ready is not None:
            self.say(ready, events.VmStateSet(server_uuid=uuid, state="configured"))

    def ran(
        self,
        vm: str,
        entry: str,
        at: float,
        seconds: float,
        code: int | None = 0,
        *,
        attempt: int = 1,
        late: float = 0.0,
        reboot: bool = False,
        measured: bool = True,
    ) -> None:
        """Let an attempt begin at ``at`` (``late`` seconds after it was due), and end after ``seconds``."""
        self.began(vm, entry, at, attempt=attempt, late=late)
        ended = events.EntryFinished(
            server_uuid=self.uuid(vm),
            entry=entry,
            attempt=attempt,
            exit_code=code,
            duration=seconds if measured else None,
            reboot=reboot,
        )
        self.say(at + seconds, ended)

    def began(self, vm: str, entry: str, at: float, *, attempt: int = 1, late: float = 0.0) -> None:
        """Let an attempt begin, and not end."""
        time, _, name = entry.partition("/")
        due = moment(at - late) if at > 0 else None
        started = events.EntryStarted(
            server_uuid=self.uuid(vm), entry=entry, attempt=attempt, name=name, start_time=time, due=due
        )
        self.say(at, started)

    def wrote(
        self,
        vm: str,
        entry: str,
        at: float,
        *pieces: bytes,
        stream: StreamName = "stdout",
        first: int = 0,
        attempt: int = 1,
    ) -> None:
        """Let an attempt's output be captured in ``pieces``, from the byte ``first`` on."""
        for piece in pieces:
            captured = events.OutputCaptured(
                server_uuid=self.uuid(vm),
                entry=entry,
                attempt=attempt,
                stream=stream,
                offset=first,
                size=len(piece),
                data=piece,
            )
            self.say(at, captured)
            first += len(piece)

    def started(self, reported: float = -40) -> None:
        """Report the start."""
        self.say(reported, events.ExperimentStarted(start_time=START))

    def recorded(self) -> list[Recorded]:
        """Return the log."""
        ordered = sorted(self._steps, key=lambda step: step[0])
        return [_recorded(number, second, body) for number, (second, body) in enumerate(ordered, 1)]

    def read_model(self, path: Path) -> Path:
        """Write a read model of the log to ``path`` and return it."""
        return read_model(path, self.recorded())


@cache
def _empty() -> bytes:
    """Return the file of a read model that has seen no event: to make one anew takes longer than everything else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.duckdb"
        Projector(path).close()
        return path.read_bytes()


def read_model(path: Path, log: Iterable[Recorded]) -> Path:
    """Fold ``log`` into a read model at ``path`` and return it."""
    path.write_bytes(_empty())
    projector = Projector(path)
    try:
        projector.apply(list(log))
    finally:
        projector.close()
    return path


def program(time: float, name: str) -> Entry:
    """Return an entry that runs a program."""
    return Entry(id=f"{time:g}/{name}", start_time=time, executable=name)


def pause(time: float, name: str, seconds: float | None) -> Entry:
    """Return an entry that holds the schedule."""
    return Entry(id=f"{time:g}/{name}", start_time=time, pause=Pause(duration=seconds))


def copy(time: float, name: str) -> Entry:
    """Return an entry that copies a file out of the guest."""
    return Entry(id=f"{time:g}/{name}", start_time=time, transfer=Transfer(location="/var/log"))


def _recorded(sequence: int, second: float, body: KnownBody) -> Recorded:
    time = moment(second)
    identity = f"0190a0b0-0000-7000-8000-{sequence:012x}"
    event = events.Event(id=identity, time=time, producer="test", body=body)
    stored = int(time.timestamp() * 1000) * 1_000_000
    return Recorded(sequence=sequence, stored=stored, subject=events.subject_of("test", body), event=event)
