"""What ``guest-exec`` starts in a simulated guest that runs Windows.

Known are the operations of `vmr.spool_windows` and launches; each is done here in Python with the effect that the scripts have. Their
words must be plain: ``cmd.exe`` does not undo the quoting by which the agent passes any others on.
"""

from __future__ import annotations

import ntpath
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from vmr import spool_windows
from vmr.testing.filesystem import File
from vmr.testing.machine import Ended, Machine
from vmr.testing.programs import NOTHING, SimulatedProgram
from vmr.testing.shell import interpret

OS_INFO: Final = {
    "id": "mswindows",
    "name": "Microsoft Windows",
    "pretty-name": "Windows 10 Pro (simulated)",
    "version": "Microsoft Windows 10",
    "version-id": "10",
    "variant": "client",
    "variant-id": "client",
    "kernel-release": "19045",
    "kernel-version": "10.0",
    "machine": "x86_64",
}

_PLAIN: Final = re.compile(r"[A-Za-z0-9._+:\\/-]+")
_KILLED: Final = 137


def start(machine: Machine, path: str, arguments: Sequence[str]) -> int:
    """Start what ``guest-exec`` was asked to start; return its process id. Raises `FileNotFoundError`."""
    machine.settle()
    match [path, *arguments]:
        case ["cmd.exe", "/d", "/c", *words] if not all(_PLAIN.fullmatch(word) for word in words):
            return machine.over(
                Ended(1, b"", b"The filename, directory name, or volume label syntax is incorrect.\r\n")
            )
        case ["cmd.exe", "/d", "/c", "mkdir", folder]:
            return machine.over(_mkdir(machine, folder))
        case ["cmd.exe", "/d", "/c", "rem"]:
            return machine.over(Ended(0))
        case ["cmd.exe", "/d", "/c", script, operation, *words] if script == spool_windows.OPERATIONS_PATH:
            return machine.over(_with_script(machine, script, spool_windows.OPERATIONS, OPERATIONS[operation], words))
        case ["cmd.exe", "/d", "/c", script, *words] if script.endswith("\\call_arguments.bat"):
            return _launch(machine, script, words)
        case ["powershell.exe", *_, "-ExecutionPolicy", "Bypass", "-File", script, operation, request]:
            known = POWERSHELL[operation]
            return machine.over(_with_script(machine, script, spool_windows.POWERSHELL, known, [request]))
    raise FileNotFoundError(path)


_Operation = Callable[[Machine, Sequence[str]], Ended]


def _with_script(machine: Machine, path: str, text: str, operation: _Operation, words: Sequence[str]) -> Ended:
    """Do an operation, if the whole script of it is in the guest."""
    try:
        there = machine.files.read(path)
    except OSError:
        there = b""
    return operation(machine, words) if there == text.encode() else Ended(1, b"", b"The script is not there.\r\n")


def _mkdir(machine: Machine, folder: str) -> Ended:
    if machine.files.exists(folder):
        return Ended(1, b"", f"A subdirectory or file {folder} already exists.\r\n".encode())
    machine.files.make_folders(folder)
    return Ended(0)


class _Attempt:
    """One attempt of a launch: its files are locked until it ends."""

    def __init__(self, machine: Machine, directory: str, number: int) -> None:
        self._machine = machine
        self._directory = directory
        self._number = number
        self._claim = rf"{directory}\attempt-{number}"
        self._began = machine.time()
        self._files: dict[str, File] = {}

    def claim(self, pid: int) -> None:
        """Make the attempt's folder and what is in it at the begin; raises `OSError` when it is there."""
        files, now = self._machine.files, self._machine.time()
        files.make_folder(self._claim)
        files.remove(rf"{self._directory}\reboot")
        self._files = {name: files.create(rf"{self._claim}\{name}", now) for name in ("running", "stdout", "stderr")}
        self._machine.locks |= dict.fromkeys(self._files.values(), pid)

    def write(self, stream: str, data: bytes) -> None:
        """Append to the attempt's file."""
        self._files[stream].append(data, self._machine.time())

    def end(self, program: SimulatedProgram, at: float) -> Ended:
        """Record the exit code as the call script does, and return what it prints."""
        machine, files = self._machine, self._machine.files
        if self._number <= program.reboots:
            files.create(rf"{self._directory}\reboot", machine.time())
        asked = int(files.exists(rf"{self._directory}\reboot"))
        code = program.exit_code if program.signal is None else 1
        if files.exists(rf"{self._claim}\killed"):
            code = _KILLED
        ended = machine.time() - (machine.clock.monotonic() - at)
        days = int(ended // 86_400) - int(self._began // 86_400)
        record = f"{code} {asked} {_time_of_day(self._began)} {_time_of_day(ended)} "
        record += f"{round(ended - self._began)}\r\n" if days else "\r\n"
        files.create(rf"{self._claim}\exit_code", machine.time(), record.encode())
        for file in self._files.values():
            del machine.locks[file]
        return Ended(0, b"vmr finished " + record.encode())


def _time_of_day(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 10_000:02}"


def _launch(machine: Machine, script: str, words: Sequence[str]) -> int:
    try:
        text = machine.files.read(script).decode()
    except OSError:
        return machine.over(Ended(1, b"", f"'{script}' is not recognized as an internal or external command".encode()))
    command = text.partition("\r\n:command\r\n")[2].removeprefix("chcp 65001 >nul\r\n").removesuffix("\r\n")
    directory = ntpath.dirname(script)
    program = _program(machine, command, "/".join(directory.split("\\")[-2:]))
    if not words:
        return machine.begin(program)
    attempt = _Attempt(machine, directory, int(words[0]))
    try:
        attempt.claim(machine.next_pid())
    except OSError:
        claimed = machine.files.is_folder(rf"{directory}\attempt-{words[0]}")
        return machine.over(Ended(0, b"vmr again\r\n" if claimed else b"vmr refused\r\n"))
    return machine.begin(program, attempt)


def _program(machine: Machine, command: str, entry: str) -> SimulatedProgram:
    named = re.match(r'(?:powershell -ExecutionPolicy Bypass -File )?("[^"]*"|\S+)', command)
    name = "" if named is None else ntpath.basename(named[1].strip('"'))
    behaviour = machine.behaviour
    return behaviour.find(command, entry) or behaviour.find(name) or interpret(command) or NOTHING


# --- operations of the spool ------------------------------------------------------------------------------------------


def _begin(machine: Machine, words: Sequence[str]) -> Ended:
    files, mark, run = machine.files, rf"{spool_windows.INCOMING}\run", words[0]
    if not files.exists(mark) or files.read(mark).decode().strip() != run:
        aside = files.resolve(rf"{spool_windows.INCOMING}\before-{run}")
        files.move_contents(files.resolve(spool_windows.LAUNCH_ROOT), aside)
        files.create(mark, machine.time(), f"{run}\r\n".encode())
    return Ended(0, f"boot {machine.boot_id.replace('-', '')}\r\n".encode())


def _install(machine: Machine, words: Sequence[str]) -> Ended:
    failed = []
    for line in machine.files.read(words[0]).decode().splitlines():
        number, mode, uploaded, target = line.split("|", 3)
        files = machine.files
        if mode == "keep" and files.exists(target) and not files.is_folder(target):
            files.remove(uploaded)
            continue
        try:
            files.make_folders(ntpath.dirname(target))
            files.create(target, machine.time())  # not into a folder of that name
            files.rename(uploaded, target)
        except OSError:
            failed.append(number)
    return Ended(0, "".join(f"{number}\r\n" for number in failed).encode())


def _probe(machine: Machine, words: Sequence[str]) -> Ended:
    claims = [rf"{folder}\attempt-{number}" for folder, number in zip(words[::2], words[1::2], strict=True)]
    return Ended(0, "".join(f"{_look(machine, claim)}\r\n" for claim in claims).encode())


def _look(machine: Machine, claim: str) -> str:
    files = machine.files
    if not files.is_folder(claim):
        return "absent"
    if files.exists(rf"{claim}\exit_code"):
        return "finished " + files.read(rf"{claim}\exit_code").decode().strip()
    if not files.exists(rf"{claim}\running"):
        return "claimed"
    return "running" if files.file(rf"{claim}\running") in machine.locks else "dead"


def _copy(machine: Machine, words: Sequence[str]) -> Ended:
    return _snapshot(machine, machine.files.read(words[0]).decode().splitlines())


def _snapshot(machine: Machine, words: Sequence[str]) -> Ended:
    source, copy = words
    if not machine.files.exists(source):
        return Ended(9)
    machine.files.create(copy, machine.time(), machine.files.read(source))
    return Ended(0, b"        1 file(s) copied.\r\n")


def _list(machine: Machine, words: Sequence[str]) -> Ended:
    output = b""
    for path in machine.files.find(machine.files.read(words[0]).decode().splitlines()[0]):
        file = machine.files.file(path)
        output += f"{len(file.data)} {int(file.modified)}\n{path}\0".encode()
    return Ended(0, output)


def _kill(machine: Machine, words: Sequence[str]) -> Ended:
    directory, number = machine.files.read(words[0]).decode().splitlines()
    claim = rf"{directory}\attempt-{number}"
    if _look(machine, claim) == "running":
        machine.files.create(rf"{claim}\killed", machine.time())
        machine.kill(machine.locks[machine.files.file(rf"{claim}\running")])
    return Ended(0)


OPERATIONS: Final[dict[str, _Operation]] = {
    "begin": _begin,
    "install": _install,
    "probe": _probe,
    "snapshot": _snapshot,
}
"""What the script of ``cmd.exe`` does, by the operation's name."""

POWERSHELL: Final[dict[str, _Operation]] = {"list": _list, "kill": _kill, "copy": _copy}
"""What the script of PowerShell does, by the operation's name."""
