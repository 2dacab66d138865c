"""What ``guest-exec`` starts in a simulated guest: operations of the spool (`vmr.spool`), launches, and programs.

An operation is known by its name (the ``$0`` of its script) and done here in Python, with the same effect on the
guest's files and the same answer as the shell script has in a real guest; the tests hold the one against the other.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Sequence
from typing import Final

from vmr.spool import CALL_SCRIPT_NAME, INCOMING, INLINE_OUTPUT, LAUNCH_ROOT, SHELL
from vmr.testing.filesystem import File
from vmr.testing.machine import Ended, Machine
from vmr.testing.programs import NOTHING, SimulatedProgram
from vmr.testing.shell import interpret

_FOUND_ON_PATH: Final = frozenset(
    ["cat", "date", "echo", "env", "false", "head", "id", "ls", "sh", "sleep", "true", "uname"]
)


def start(machine: Machine, path: str, arguments: Sequence[str], stdin: bytes = b"") -> int:
    """Start what ``guest-exec`` was asked to start; return its process id. Raises `FileNotFoundError`."""
    machine.settle()
    if path == SHELL and arguments and arguments[0].endswith(f"/{CALL_SCRIPT_NAME}"):
        return _launch(machine, arguments[0], arguments[1:])
    if path == SHELL and len(arguments) > 2 and arguments[0] == "-c" and arguments[2] in OPERATIONS:
        return machine.over(OPERATIONS[arguments[2]](machine, arguments[3:]))
    if posixpath.basename(path) == "cat":
        return machine.over(_cat(machine, arguments, stdin))
    return machine.begin(_program(machine, path, arguments))


def _program(machine: Machine, path: str, arguments: Sequence[str]) -> SimulatedProgram:
    in_shell = path in (SHELL, "sh") and len(arguments) >= 2 and arguments[0] == "-c"
    text = arguments[1] if in_shell else shlex.join([path, *arguments])
    found = machine.behaviour.find(text) or interpret(text)
    if found is not None:
        return found
    name = posixpath.basename(path)
    at_home = posixpath.dirname(path) in ("", "/bin", "/usr/bin", "/sbin", "/usr/sbin")
    if not (at_home and name in _FOUND_ON_PATH) and not (path.startswith("/") and path in machine.files.files):
        raise FileNotFoundError(path)
    return NOTHING


def _cat(machine: Machine, paths: Sequence[str], stdin: bytes) -> Ended:
    output = b"" if paths else stdin
    for path in paths:
        try:
            output += machine.read(path)
        except OSError as error:
            return Ended(1, output, f"cat: {path}: {error.strerror}\n".encode())
    return Ended(0, output)


# --- launches ---------------------------------------------------------------------------------------------------------


class _Attempt:
    """One attempt of a launch: output goes to files in its folder, the end to its exit code."""

    def __init__(self, machine: Machine, directory: str, number: int) -> None:
        self._machine = machine
        self._directory = directory
        self._number = number
        self._claim = f"{directory}/attempt-{number}"
        self._begin = machine.uptime()
        self._output: dict[str, File] = {}

    def claim(self, pid: int) -> None:
        """Make the attempt's folder and what is in it at the begin; raises `OSError` when it is there."""
        files, now = self._machine.files, self._machine.time()
        files.make_folder(self._claim)
        files.create(f"{self._claim}/running", now, f"{pid} {self._machine.boot_id} {self._begin}\n".encode())
        files.remove(f"{self._directory}/reboot")
        self._output = {name: files.create(f"{self._claim}/{name}", now) for name in ("stdout", "stderr")}
        for name in ("stdout", "stderr", "exit_code"):
            files.link(f"{self._directory}/{name}", f"attempt-{self._number}/{name}")

    def write(self, stream: str, data: bytes) -> None:
        """Append to the attempt's file."""
        self._output[stream].append(data, self._machine.time())

    def end(self, program: SimulatedProgram, at: float) -> Ended:
        """Record the exit code as the call script does, and return what it prints."""
        files, now = self._machine.files, self._machine.time()
        code = program.exit_code if program.signal is None else 128 + program.signal
        there = files.is_folder(self._claim)  # a later run may have moved it out of the way
        if there and self._number <= program.reboots:
            files.create(f"{self._directory}/reboot", now)
        asked = int(files.exists(f"{self._directory}/reboot"))
        times = f"{asked} {self._begin} {self._machine.uptime(at)}"
        if there:
            files.create(f"{self._claim}/exit_code", now, f"{code}\n{times}\n".encode())
        output, errors = (bytes(self._output[name].data[:INLINE_OUTPUT]) for name in ("stdout", "stderr"))
        return Ended(0, f"vmr finished {code} {times}\n".encode() + output, errors)


def _launch(machine: Machine, script: str, arguments: Sequence[str]) -> int:
    try:
        command = machine.files.read(script).decode(errors="replace").partition("\nfi\n")[2].strip("\n")
    except OSError as error:
        return machine.over(Ended(2, b"", f"/bin/sh: 0: cannot open {script}: {error.strerror}\n".encode()))
    directory = posixpath.dirname(script)
    entry = "/".join(directory.split("/")[-2:])
    program = machine.behaviour.find(command, entry) or interpret(command) or NOTHING
    if not arguments:
        return machine.begin(program)
    attempt = _Attempt(machine, directory, int(arguments[0]))
    try:
        attempt.claim(machine.next_pid())
    except OSError:
        claimed = machine.files.is_folder(f"{directory}/attempt-{arguments[0]}")
        return machine.over(Ended(0, b"vmr again\n") if claimed else Ended(1, b"vmr refused\n"))
    return machine.begin(program, attempt)


# --- operations of the spool ------------------------------------------------------------------------------------------


def _mkdir(machine: Machine, folders: Sequence[str]) -> Ended:
    code, errors = 0, b""
    for folder in folders:
        try:
            machine.files.make_folders(folder)
        except OSError as error:
            code, errors = 1, errors + f"mkdir: cannot create directory '{folder}': {error.strerror}\n".encode()
    return Ended(code, b"", errors)


def _install(machine: Machine, arguments: Sequence[str]) -> Ended:
    failed = []
    for number in range(len(arguments) // 4):
        try:
            _install_one(machine, *arguments[4 * number : 4 * number + 4])
        except OSError:
            failed.append(number)
    return Ended(int(bool(failed)), "".join(f"{number}\n" for number in failed).encode())


def _install_one(machine: Machine, kind: str, mode: str, target: str, payload: str) -> None:
    files = machine.files
    if files.exists(target) and not mode.endswith("-anew"):
        return
    files.make_folders(posixpath.dirname(target))
    source = payload
    if kind == "text":
        source = f"{target}.vmr-part"
        files.create(source, machine.time(), payload.encode())
    if mode.startswith("executable"):
        files.file(source).executable = True
    files.rename(source, target)


def _probe(machine: Machine, arguments: Sequence[str]) -> Ended:
    pairs = zip(arguments[::2], arguments[1::2], strict=False)
    return Ended(0, "".join(f"{_look(machine, directory, number)}\n" for directory, number in pairs).encode())


def _look(machine: Machine, directory: str, number: str) -> str:
    files, claim = machine.files, f"{directory}/attempt-{number}"
    if not files.is_folder(claim):
        return "absent"
    if files.exists(f"{claim}/exit_code"):
        return "finished " + " ".join(files.read(f"{claim}/exit_code").decode().split())
    if not files.exists(f"{claim}/running"):
        return "claimed"
    pid, boot, *_ = files.read(f"{claim}/running").decode().split()
    return "running" if boot == machine.boot_id and machine.alive(int(pid)) else "dead"


def _kill(machine: Machine, arguments: Sequence[str]) -> Ended:
    running = f"{arguments[0]}/attempt-{arguments[1]}/running"
    if machine.files.exists(running):
        pid, boot, *_ = machine.files.read(running).decode().split()
        if boot == machine.boot_id:
            machine.kill(int(pid))
    return Ended(0)


def _begin(machine: Machine, arguments: Sequence[str]) -> Ended:
    files, mark, run = machine.files, f"{INCOMING}/run", arguments[0]
    files.make_folders(INCOMING)
    if not files.exists(mark) or files.read(mark).decode().strip() != run:
        files.move_contents(LAUNCH_ROOT, f"{INCOMING}/before-{run}")
        files.create(mark, machine.time(), f"{run}\n".encode())
    return Ended(0, f"boot {machine.boot_id}\n".encode())


def _list(machine: Machine, arguments: Sequence[str]) -> Ended:
    output = b""
    for path in machine.files.find(arguments[0]):
        file = machine.files.file(path)
        output += f"{len(file.data)} {int(file.modified)}\n{path}\0".encode("utf-8", "surrogateescape")
    return Ended(0, output)


OPERATIONS: Final[dict[str, Callable[[Machine, Sequence[str]], Ended]]] = {
    "vmr-mkdir": _mkdir,
    "vmr-install": _install,
    "vmr-probe": _probe,
    "vmr-kill": _kill,
    "vmr-begin": _begin,
    "vmr-list": _list,
}
"""Every operation by its name; the arguments are those after the name."""
