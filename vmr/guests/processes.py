"""Processes that outlive the one that started them: start, recognise after a restart, list, and end exactly those.

A process is known by its pid, the tick of the kernel's clock at which it began, and the boot of the host: together these never
name another process, whatever happened in between (a wall-clock start time would move with the clock). Every process also
carries its folder in its environment, so that one whose starter died before it could write anything down is found as well.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from vmr.errors import GuestError, GuestSetupError

FOLDER_MARK = "VMR_GUESTS_FOLDER"
NAME_MARK = "VMR_GUEST_NAME"
BACKEND_MARK = "VMR_GUEST_BACKEND"
_SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_KILL_BOUND_S = 10.0
_MARK_BOUND_S = 5.0


class ProcessId(msgspec.Struct, frozen=True):
    """One process, for ever: pid, start in clock ticks after the host's boot, and the id of that boot."""

    pid: int
    started: int
    boot: str


class RunningGuest(msgspec.Struct, frozen=True):
    """A guest's process that runs now on this host, whoever started it."""

    pid: int
    backend: str
    name: str
    folder: Path


def find_tool(name: str) -> str | None:
    """Return the full path of a command, looking into the sbin folders as well (a user's PATH often has not them)."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}")


def spawn(argv: Sequence[str], marks: Mapping[str, str], output: Path) -> ProcessId:
    """Start a process in a session of its own, with an environment of ``marks`` and nothing else, output appended to a file.

    Raises `GuestSetupError` when the program does not exist or cannot be started.
    """
    program = find_tool(argv[0])
    if program is None:
        raise GuestSetupError(f"command {argv[0]!r} is not installed: run ops/packages")
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            program,
            list(argv),
            {"PATH": _SEARCH_PATH, "LC_ALL": "C.UTF-8", **marks},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(output), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD],
        )
    except OSError as error:
        raise GuestSetupError(f"{program}: cannot be started: {error.strerror}") from error
    process = ProcessId(pid, _start_tick(pid) or 0, boot_id())
    _until_marked(process)
    return process


def _until_marked(process: ProcessId) -> None:
    """Return when the new program's environment can be read: the kernel fills it in a moment after the start succeeded."""
    deadline = time.monotonic() + _MARK_BOUND_S
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while not Path(f"/proc/{process.pid}/environ").read_bytes() and is_alive(process):
            if time.monotonic() > deadline:
                raise GuestError(f"process {process.pid} has no environment {_MARK_BOUND_S:.0f} s after its start")
            time.sleep(0.0005)


def boot_id() -> str:
    """Return the id of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def is_alive(process: ProcessId | None) -> bool:
    """Tell whether this very process still runs (an ended one that nobody has waited for does not)."""
    if process is None or process.boot != boot_id():
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return _start_tick(process.pid) == process.started


def kill(processes: Iterable[ProcessId]) -> None:
    """Kill these processes and their children, and wait until all of them are gone.

    A namespaced guest's child is the first process of its pid namespace; when that one is gone, so is everything in it.
    Raises `GuestError` when one is still there after 10 s.
    """
    handles: dict[int, int] = {}
    try:
        for process in processes:
            if is_alive(process):
                for pid in (process.pid, *_children(process.pid)):
                    _open_handle(pid, handles)
        for handle in handles.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        _wait_for_end(handles)
    finally:
        for handle in handles.values():
            os.close(handle)


def running(folder: Path | None = None) -> list[RunningGuest]:
    """Return the guests' processes that run now on this host, of one folder or of all, in order of their pids."""
    found = []
    for process in psutil.process_iter():
        marks = _marks(process)
        if marks is None or (folder is not None and marks[FOLDER_MARK] != str(folder.resolve())):
            continue
        found.append(
            RunningGuest(process.pid, marks.get(BACKEND_MARK, ""), marks.get(NAME_MARK, ""), Path(marks[FOLDER_MARK]))
        )
    return sorted(found, key=lambda guest: guest.pid)


def sweep(folder: Path, keep: Iterable[ProcessId] = ()) -> None:
    """Kill every process that carries the mark of ``folder``, except those to ``keep``."""
    kept = {process.pid for process in keep}
    strays = [guest.pid for guest in running(folder) if guest.pid not in kept]
    kill(ProcessId(pid, tick, boot_id()) for pid in strays if (tick := _start_tick(pid)) is not None)


def _marks(process: psutil.Process) -> dict[str, str] | None:
    try:
        marks = process.environ()
    except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
        return None
    return marks if FOLDER_MARK in marks else None


def _start_tick(pid: int) -> int | None:
    """Return field 22 of ``/proc/<pid>/stat`` (proc(5)), or None when the process is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _open_handle(pid: int, handles: dict[int, int]) -> None:
    if pid not in handles:
        with contextlib.suppress(ProcessLookupError):
            handles[pid] = os.pidfd_open(pid)


def _wait_for_end(handles: Mapping[int, int]) -> None:
    poller = select.poll()
    waiting = {handle: pid for pid, handle in handles.items()}
    for handle in waiting:
        poller.register(handle, select.POLLIN)
    deadline = time.monotonic() + _KILL_BOUND_S
    while waiting and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(left * 1000):
            poller.unregister(handle)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(waiting.pop(handle), os.WNOHANG)
    if waiting:
        raise GuestError(
            f"processes {sorted(waiting.values())} did not end within {_KILL_BOUND_S:.0f} s of being killed"
        )
