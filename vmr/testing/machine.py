"""The inside of a simulated guest: its files, its processes, its boots. It executes nothing; programs are timelines.

Nothing runs between two questions: what a program has written and whether it has ended is worked out from the clock
whenever somebody looks. So a guest costs no task and no timer, and thousands of them fit in one process.
"""

from __future__ import annotations

import signal
import uuid
from typing import Final, NamedTuple, Protocol

from vmr.clock import Clock, SystemClock
from vmr.testing.filesystem import File, FileSystem
from vmr.testing.programs import NOTHING, Behaviour, SimulatedProgram
from vmr.testing.windows_files import WindowsFileSystem

_FIRST_PID: Final = 300
_BOOTS: Final = uuid.UUID("6f2f9a0e-5b0e-4c7e-9f7b-0d3a3c1d7a10")


class Ended(NamedTuple):
    """How a process ended, with all that it wrote to the agent's pipes."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    signal: int | None = None


class Sink(Protocol):
    """Where the output of a process goes, and what its end leaves behind."""

    def write(self, stream: str, data: bytes) -> None:
        """Take what the process has written."""
        ...

    def end(self, program: SimulatedProgram, at: float) -> Ended:
        """Take the process's end, at a time of the clock, and return what the agent sees of it."""
        ...


class Pipes:
    """The agent's own pipes: output is kept in memory for it."""

    def __init__(self) -> None:
        self._streams = {"stdout": bytearray(), "stderr": bytearray()}

    def write(self, stream: str, data: bytes) -> None:
        """Keep it."""
        self._streams[stream] += data

    def end(self, program: SimulatedProgram, at: float) -> Ended:
        """Return exit code or signal, and what was kept."""
        return Ended(
            program.exit_code, bytes(self._streams["stdout"]), bytes(self._streams["stderr"]), signal=program.signal
        )


class Process:
    """One process: a program since a time of the clock, and where its output goes."""

    __slots__ = ("_began", "_next", "_program", "_sink", "_timeline", "ended")

    def __init__(self, program: SimulatedProgram, began: float, sink: Sink) -> None:
        self.ended: Ended | None = None
        self._program = program
        self._began = began
        self._sink = sink
        self._timeline = program.timeline()
        self._next = 0

    def progress(self, now: float) -> None:
        """Write all that it has written by ``now``, and end if it has ended."""
        elapsed = now - self._began
        while self._next < len(self._timeline) and self._timeline[self._next][0] <= elapsed:
            _, stream, data = self._timeline[self._next]
            self._sink.write(stream, data)
            self._next += 1
        if self._program.duration <= elapsed:
            self.ended = self._sink.end(self._program, self._began + self._program.duration)

    def kill(self, now: float) -> None:
        """End it as SIGKILL does."""
        self.progress(now)
        if self.ended is None:
            killed = SimulatedProgram(duration=now - self._began, signal=signal.SIGKILL)
            self.ended = self._sink.end(killed, now)


class Machine:
    """A simulated guest without its agent.

    ``clock`` decides when programs print and end. ``files`` is open to tests. Files stay over a reboot; processes do
    not, and their process ids come again, as in a real guest. ``locks`` has the files that nobody else may open on
    Windows, with the process that writes them.
    """

    def __init__(self, name: str, behaviour: Behaviour, clock: Clock | None = None) -> None:
        self.name = name
        self.behaviour = behaviour
        self.clock: Clock = clock or SystemClock()
        self.windows = behaviour.system == "windows"
        self.files: FileSystem = WindowsFileSystem() if self.windows else FileSystem()
        self.locks: dict[File, int] = {}
        self.time_offset = 0.0
        self.boots = 0
        self._processes: dict[int, Process] = {}
        self._running: list[Process] = []
        self.boot()

    def boot(self) -> None:
        """Begin again, with the files that are there and without the processes."""
        self.power_off()
        self.boots += 1
        self.boot_id = str(uuid.uuid5(_BOOTS, f"{self.name}/{self.boots}"))
        self._booted = self.clock.monotonic()
        self._last_pid = _FIRST_PID

    def power_off(self) -> None:
        """End every process as it stands."""
        self.settle()
        self._processes, self._running = {}, []
        self.locks.clear()

    def time(self) -> float:
        """Return the guest's wall-clock time in seconds since 1970."""
        return self.clock.now().timestamp() + self.time_offset

    def uptime(self, at: float | None = None) -> str:
        """Return the seconds since the boot, as ``/proc/uptime`` prints them, at a time of the clock or now."""
        return f"{(self.clock.monotonic() if at is None else at) - self._booted:.2f}"

    def read(self, path: str) -> bytes:
        """Return a file's bytes as a program of the guest would read them now; raises `OSError`."""
        if path == "/proc/sys/kernel/random/boot_id":
            return f"{self.boot_id}\n".encode()
        if path == "/proc/uptime":
            return f"{self.uptime()} 0.00\n".encode()
        self.settle()
        return self.files.read(path)

    def settle(self) -> None:
        """Let every process do what it has done by now."""
        if self._running:
            now = self.clock.monotonic()
            for process in self._running:
                process.progress(now)
            self._running = [process for process in self._running if process.ended is None]

    def next_pid(self) -> int:
        """Return the id that the next process gets."""
        return self._last_pid + 1

    def begin(self, program: SimulatedProgram = NOTHING, sink: Sink | None = None) -> int:
        """Start a process and return its id."""
        process = Process(program, self.clock.monotonic(), sink or Pipes())
        self._last_pid += 1
        self._processes[self._last_pid] = process
        self._running.append(process)
        self.settle()
        return self._last_pid

    def over(self, ended: Ended) -> int:
        """Start a process that has ended already, and return its id."""
        pid = self.begin(SimulatedProgram(duration=0))
        self._processes[pid].ended = ended
        return pid

    def alive(self, pid: int) -> bool:
        """Return whether a process is there and has not ended."""
        self.settle()
        process = self._processes.get(pid)
        return process is not None and process.ended is None

    def wait(self, pid: int) -> Ended | None:
        """Return how a process ended and forget it, or None while it runs; raises `KeyError` when there is none."""
        self.settle()
        ended = self._processes[pid].ended
        if ended is not None:
            del self._processes[pid]
        return ended

    def kill(self, pid: int) -> None:
        """Kill a process, if there is one."""
        process = self._processes.get(pid)
        if process is not None:
            process.kill(self.clock.monotonic())
