"""What a simulated experiment consists of, drawn from its seed: VMs, schedules, programs, people's commands, and what goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, TypeAlias

import msgspec

from vmr.schedule import Entry, EntryFile, Pause, StartTime, Transfer
from vmr.testing import Fault

Pieces: TypeAlias = tuple[tuple[float, str, bytes], ...]
End: TypeAlias = Literal["zero", "one", "ten", "file"]

_OUTAGES: Final = 0.15
_NEGATIVE: Final = (-9.0, -3, -2, -1, -0.5)
_POSITIVE: Final = (0.5, 1, 2, 3, 5, 8)
_FAULTY: Final = ("guest-exec", "guest-exec", "guest-exec-status", "guest-file-*", "guest-sync-delimited", "*")


@dataclass(frozen=True)
class Program:
    """What an entry's program does: how long it runs, what it writes and when, and how each attempt ends (later ones: zero)."""

    duration: float
    pieces: Pieces
    ends: tuple[End, ...]

    def written(self, stream: str) -> bytes:
        """Return all that it writes to a stream when nothing ends it early."""
        return b"".join(data for at, name, data in self.pieces if name == stream and at <= self.duration)

    def end(self, attempt: int) -> End:
        """Return how an attempt ends."""
        return self.ends[attempt - 1] if attempt <= len(self.ends) else "zero"


@dataclass(frozen=True)
class Change:
    """A schedule that is published later: entries appended, replaced by others of the same id, or withdrawn (by id)."""

    at: float
    append: tuple[Entry, ...] = ()
    replace: tuple[Entry, ...] = ()
    withdraw: tuple[str, ...] = ()


@dataclass
class Vm:
    """One VM: its schedule, the changes of it, and the programs by the word that names each on its command line."""

    name: str
    socket: Literal["process", "machine"]
    boot_seconds: float
    entries: tuple[Entry, ...] = ()
    changes: tuple[Change, ...] = ()
    programs: dict[str, Program] = field(default_factory=dict)

    @property
    def uuid(self) -> str:
        """The VM's uuid."""
        return f"uuid-{self.name}"

    def all_entries(self) -> list[Entry]:
        """Return every entry that is ever published."""
        return [*self.entries, *(entry for each in self.changes for entry in (*each.append, *each.replace))]


@dataclass(frozen=True)
class Trouble:
    """Something that happens to the handlers, a guest, or a connection: at a time, or after that many callbacks.

    ``part`` is how much of what a killed handler had sent to agents still arrives, ``late`` after how many seconds what it had sent to the
    log does; None: never.
    """

    kind: Literal["kill", "stop", "rival", "reset", "agent", "cut", "fault", "hang", "pause", "resume"]
    at: float = 0.0
    steps: int = 0
    vm: int = 0
    fault: Fault | None = None
    seconds: float = 0.0
    part: float = 0.0
    late: float | None = None


@dataclass
class Scenario:
    """A whole simulated experiment."""

    seed: int
    vms: list[Vm]
    start_buffer: float
    handler_first: bool
    bystander: bool
    troubles: list[Trouble]
    log_delay: tuple[float, float]
    agent_delay: tuple[float, float]
    repeats: float
    outages: tuple[tuple[float, float], ...] = ()
    """When the log is away, in seconds from the beginning: nothing reaches it or comes from it before the end of an outage."""


class _Draw:
    """One drawing of a scenario."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"{seed}/scenario")
        self.seed = seed
        self.words = 0

    def scenario(self) -> Scenario:
        rng = self.rng
        vms = [self._vm(f"vm{number}") for number in range(rng.choices((1, 2, 3), (6, 3, 1))[0])]
        return Scenario(
            seed=self.seed,
            vms=vms,
            start_buffer=rng.choice((0.0, 0.0, 1.0)),
            handler_first=rng.random() < 0.3,
            bystander=rng.random() < 0.1,
            troubles=self._troubles(len(vms)),
            log_delay=self._delay(),
            agent_delay=self._delay(),
            repeats=rng.choice((0.0, 0.0, 0.02)),
        )

    def _delay(self) -> tuple[float, float]:
        """Return the usual longest delay in seconds, and the part of messages that take up to two seconds."""
        return self.rng.choice(((0.0, 0.0), (0.001, 0.0), (0.002, 0.002), (0.03, 0.0), (0.005, 0.01)))

    def _vm(self, name: str) -> Vm:
        rng = self.rng
        socket: Literal["process", "machine"] = "machine" if rng.random() < 0.5 else "process"
        vm = Vm(name, socket, rng.choice((0.0, 0.1, 2.0)))
        vm.entries = tuple(self._entry(vm) for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6))))
        if rng.random() < 0.3:
            vm.changes = self._changes(vm)
        return vm

    def _changes(self, vm: Vm) -> tuple[Change, ...]:
        rng = self.rng
        changes = []
        for at in sorted(rng.uniform(0, 12) for _ in range(rng.choice((1, 1, 2)))):
            append = tuple(self._entry(vm) for _ in range(rng.choice((0, 1, 2))))
            withdraw = tuple(entry.id for entry in vm.entries if rng.random() < 0.15)
            programs = [entry for entry in vm.entries if entry.executable is not None and entry.id not in withdraw]
            replace = tuple(self._other(vm, entry) for entry in programs if rng.random() < 0.25)
            changes.append(Change(at, append, replace, withdraw))
        return tuple(changes)

    def _entry(self, vm: Vm) -> Entry:
        kind = self.rng.random()
        if kind < 0.12:
            return self._hold()
        self.words += 1
        word = f"w{self.words}."
        time = self.rng.choice(_NEGATIVE if self.rng.random() < 0.6 else _POSITIVE)
        if kind < 0.16:
            return Entry(id=f"{time}/{word}", start_time=time, files=self._files(f"/etc/{word}"))
        if kind < 0.17:
            return Entry(id=f"{time}/{word}", start_time=time, transfer=Transfer("/root/report"))
        vm.programs[word] = self._program()
        files = self._files("data") if self.rng.random() < 0.15 else ()
        executable = "/usr/bin/program"
        if self.rng.random() < 0.1:
            executable = "run.sh"
            files += (EntryFile("run.sh", content="#!/bin/sh\n", executable=True),)
        return Entry(
            id=f"{time}/{word}",
            start_time=time,
            executable=executable,
            arguments=word,
            files=files,
            retries=self.rng.choice((0, 0, 0, 1, 2)),
            when_lost=self.rng.choice(("continue", "continue", "again")),
            timeout=self.rng.choice((None,) * 8 + (0.3, 2.0)),
        )

    def _other(self, vm: Vm, entry: Entry) -> Entry:
        """Return an entry of the same id that runs another program, with files at the same places and other content."""
        self.words += 1
        word = f"w{self.words}."
        vm.programs[word] = self._program()
        files = tuple(
            file if file.content is None else msgspec.structs.replace(file, content=f"{word}\n") for file in entry.files
        )
        return msgspec.structs.replace(entry, arguments=word, files=files)

    def _hold(self) -> Entry:
        rng = self.rng
        self.words += 1
        time: StartTime = rng.choice(("-inf", 0, 1, 2, 3, 3.5))
        if rng.random() < 0.2:
            return Entry(id=f"resume {self.words}", start_time="-inf", resume=True)
        return Entry(id=f"hold {self.words}", start_time=time, pause=Pause(rng.choice((0.5, 2.0, None))))

    def _files(self, location: str) -> tuple[EntryFile, ...]:
        if self.rng.random() < 0.5:
            return (EntryFile(f"{location}.txt", content="zeile ä\n" * self.rng.choice((1, 500))),)
        return (EntryFile(f"{location}.bin", resource="blob"),)

    def _program(self) -> Program:
        rng = self.rng
        duration = rng.choice((0.0, 0.0, 0.0, rng.uniform(0, 0.5), rng.uniform(0.5, 4)))
        pieces = tuple(self._piece(duration) for _ in range(rng.choice((0, 1, 1, 2, 6))))
        ends: tuple[End, ...] = ()
        if rng.random() < 0.3:
            ends = tuple(rng.choice(("one", "ten", "file", "zero")) for _ in range(rng.choice((1, 1, 2, 3))))
        return Program(duration, tuple(sorted(pieces, key=lambda piece: piece[0])), ends)

    def _piece(self, duration: float) -> tuple[float, str, bytes]:
        rng = self.rng
        data = rng.choice((b"line\n", "ümläut €\n".encode()[:-2], b"\xff\x00\n", b"\xe2\x82", b"x" * 300))
        if rng.random() < 0.03:
            data = bytes(rng.choice((65_535, 65_536, 70_000, 300_000)))
        return rng.uniform(0, duration), rng.choice(("stdout", "stdout", "stderr")), data

    def _troubles(self, vms: int) -> list[Trouble]:
        rng = self.rng
        if rng.random() < 0.05:
            return []
        troubles = [self._handler_trouble() for _ in range(rng.choice((0, 1, 1, 1, 2, 3)))]
        troubles += [self._guest_trouble(rng.randrange(vms)) for _ in range(rng.choice((0, 0, 0, 1, 2, 4)))]
        if rng.random() < 0.1:
            troubles.append(Trouble("pause", rng.uniform(0, 10), seconds=rng.choice((1.0, 3.0, math.inf))))
        return troubles

    def _handler_trouble(self) -> Trouble:
        rng = self.rng
        kind: Literal["kill", "stop", "rival"] = rng.choices(("kill", "stop", "rival"), (8, 1, 2))[0]
        steps = round(math.exp(rng.uniform(0, math.log(4000)))) if rng.random() < 0.8 else 0
        seconds = rng.choice((0.0, 0.0, rng.uniform(0, 4)))
        part, late = (
            rng.choice((0.0, 1.0, rng.random())),
            rng.choice((None, 0.0, rng.uniform(0, 0.2), rng.uniform(0, 3))),
        )
        return Trouble(kind, rng.uniform(0, 12), steps, seconds=seconds, part=part, late=late)

    def _guest_trouble(self, vm: int) -> Trouble:
        rng = self.rng
        kind = rng.choices(("reset", "agent", "cut", "fault", "hang"), (2, 2, 2, 6, 1))[0]
        fault = None
        if kind == "fault":
            action = rng.choices(("drop", "lose", "delay", "garbage", "die"), (4, 3, 3, 1, 2))[0]
            seconds = rng.choice((0.5, 9.0, 12.0))
            garbage = rng.choice((b'{"return": {}}\n', b"\xff{]\n", b"half"))
            fault = Fault(action, rng.choice(_FAULTY), seconds, garbage)  # type: ignore[arg-type]
        at = rng.uniform(0, 10) if rng.random() < 0.7 else rng.uniform(0, 0.3)
        return Trouble(kind, at, vm=vm, fault=fault, seconds=rng.uniform(0, 15), part=rng.random())  # type: ignore[arg-type]


def draw(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    scenario = _Draw(seed).scenario()
    # By a chance of its own: everything else about a seed stays what it was before there were outages.
    rng = Random(f"{seed}/outages")
    if rng.random() < _OUTAGES:
        begins = sorted(rng.uniform(0, 12) for _ in range(rng.choice((1, 1, 2))))
        scenario.outages = tuple((begin, begin + rng.choice((0.2, 3.0, 20.0))) for begin in begins)
    return scenario
