"""The commands of a simulated agent, one function each: the stock agent's arguments, results and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from vmr.agent_messages import MAX_CAPTURE
from vmr.testing import windows
from vmr.testing.arguments import Arguments, RefusalError, argument, coded, flag, integer, raw, string
from vmr.testing.handles import Handle, Handles, Whence
from vmr.testing.machine import Machine
from vmr.testing.operations import start

VERSION: Final = "7.2.22"
_MAX_READ: Final = 48 << 20
_WHENCE: Final[dict[Any, Whence]] = {"set": "set", "cur": "cur", "end": "end", 0: "set", 1: "cur", 2: "end"}


class Agent:
    """What an agent knows besides the machine: its open files, its children, and what it was told of the power."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.handles = Handles(machine)
        self.children: dict[int, bool] = {}
        self.passwords: dict[str, str] = {}
        self.power = ""

    def restart(self) -> None:
        """Forget files and children, as a new agent process does."""
        self.handles.forget()
        self.children.clear()
        self.power = ""


# --- the agent and its guest ------------------------------------------------------------------------------------------


def _nothing(_: Agent, __: Arguments) -> dict[str, Any]:
    return {}


def _sync(_: Agent, arguments: Arguments) -> int:
    return integer(arguments, "id")


def _info(_: Agent, __: Arguments) -> dict[str, Any]:
    listed = [
        {"enabled": True, "name": name, "success-response": command.answers} for name, command in COMMANDS.items()
    ]
    return {"version": VERSION, "supported_commands": listed}


def _osinfo(agent: Agent, _: Arguments) -> dict[str, str]:
    if agent.machine.windows:
        return windows.OS_INFO
    return {
        "id": "simulated",
        "name": "vmr simulated guest",
        "pretty-name": "vmr simulated guest",
        "version": "1",
        "version-id": "1",
        "kernel-release": "0-simulated",
        "kernel-version": "simulated",
        "machine": "x86_64",
    }


def _host_name(agent: Agent, _: Arguments) -> dict[str, str]:
    return {"host-name": agent.machine.name}


def _interfaces(_: Agent, __: Arguments) -> list[dict[str, Any]]:
    address = {"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}
    return [{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [address]}]


def _get_time(agent: Agent, _: Arguments) -> int:
    return round(agent.machine.time() * 1e9)


def _set_time(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    machine = agent.machine
    hardware = machine.clock.now().timestamp()
    machine.time_offset = integer(arguments, "time", round(hardware * 1e9)) / 1e9 - hardware
    return {}


def _set_password(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    argument(arguments, "crypted", bool, "boolean")
    agent.passwords[string(arguments, "username")] = raw(arguments, "password").decode(errors="replace")
    return {}


def _shutdown(agent: Agent, arguments: Arguments) -> None:
    mode = string(arguments, "mode", "powerdown")
    if mode not in ("powerdown", "reboot", "halt"):
        raise RefusalError("mode is invalid (valid values are: halt|powerdown|reboot")
    agent.power = mode


# --- programs ---------------------------------------------------------------------------------------------------------


def _exec(agent: Agent, arguments: Arguments) -> dict[str, int]:
    path = string(arguments, "path")
    words = argument(arguments, "arg", list, "array", [])
    if not all(isinstance(word, str) for word in words):
        raise RefusalError("Invalid parameter type for 'arg', expected: string")
    capture = flag(arguments, "capture-output")
    try:
        if agent.machine.windows:
            pid = windows.start(agent.machine, path, words)
        else:
            pid = start(agent.machine, path, words, raw(arguments, "input-data", ""))
    except FileNotFoundError as error:
        reason = f"Failed to execute child process “{path}” (No such file or directory)"
        raise RefusalError(f"Guest agent command failed, error was '{reason}'") from error
    agent.children[pid] = capture
    return {"pid": pid}


def _exec_status(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    pid = integer(arguments, "pid")
    if pid not in agent.children:
        raise RefusalError("Invalid parameter 'pid'")
    ended = agent.machine.wait(pid)
    if ended is None:
        return {"exited": False}
    result: dict[str, Any] = {"exited": True}
    result |= {"exitcode": ended.exit_code} if ended.signal is None else {"signal": ended.signal}
    if agent.children.pop(pid):
        for key, data in (("out", ended.stdout), ("err", ended.stderr)):
            if data:
                result |= {f"{key}-data": coded(data[:MAX_CAPTURE]), f"{key}-truncated": len(data) > MAX_CAPTURE}
    return result


# --- files ------------------------------------------------------------------------------------------------------------


def _handle(agent: Agent, arguments: Arguments) -> Handle:
    number = integer(arguments, "handle")
    try:
        return agent.handles.get(number)
    except KeyError:
        raise RefusalError(f"handle '{number}' has not been found") from None


def _open(agent: Agent, arguments: Arguments) -> int:
    path, mode = string(arguments, "path"), string(arguments, "mode", "r")
    try:
        return agent.handles.open(path, mode)
    except OSError as error:
        raise RefusalError(f"failed to open file '{path}' (mode: '{mode}'): {error.strerror}") from error
    except ValueError as error:
        raise RefusalError(f"invalid file open mode '{mode}'") from error


def _close(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    _handle(agent, arguments)
    agent.handles.close(arguments["handle"])
    return {}


def _flush(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    _handle(agent, arguments)
    return {}


def _read(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    handle = _handle(agent, arguments)
    count = integer(arguments, "count", 4096)
    if not 0 <= count <= _MAX_READ:
        raise RefusalError(f"value '{count}' is invalid for argument count")
    try:
        data = handle.read(count)
    except OSError as error:
        raise RefusalError(f"failed to read file: {error.strerror}") from error
    return {"count": len(data), "buf-b64": coded(data), "eof": handle.eof}


def _write(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    handle, content = _handle(agent, arguments), raw(arguments, "buf-b64")
    count = integer(arguments, "count", len(content))
    if not 0 <= count <= len(content):
        raise RefusalError(f"value '{count}' is invalid for argument count")
    try:
        handle.write(content[:count])
    except OSError as error:
        raise RefusalError(f"failed to write to file: {error.strerror}") from error
    return {"count": count, "eof": False}


def _seek(agent: Agent, arguments: Arguments) -> dict[str, Any]:
    handle, whence = _handle(agent, arguments), arguments.get("whence")
    if not isinstance(whence, str | int) or whence not in _WHENCE:
        raise RefusalError("Invalid parameter type for 'whence', expected: QGASeek")
    try:
        position = handle.seek(integer(arguments, "offset"), _WHENCE[whence])
    except OSError as error:
        raise RefusalError(f"failed to seek file: {error.strerror}") from error
    return {"position": position, "eof": False}


class AgentCommand(NamedTuple):
    """A command: its function, the names of its arguments, and whether success is answered."""

    function: Callable[[Agent, Arguments], Any]
    arguments: frozenset[str] = frozenset()
    answers: bool = True


def _command(function: Callable[[Agent, Arguments], Any], arguments: str = "", *, answers: bool = True) -> AgentCommand:
    return AgentCommand(function, frozenset(arguments.split()), answers)


COMMANDS: Final[dict[str, AgentCommand]] = {
    "guest-ping": _command(_nothing),
    "guest-sync": _command(_sync, "id"),
    "guest-sync-delimited": _command(_sync, "id"),
    "guest-info": _command(_info),
    "guest-get-osinfo": _command(_osinfo),
    "guest-get-host-name": _command(_host_name),
    "guest-network-get-interfaces": _command(_interfaces),
    "guest-get-time": _command(_get_time),
    "guest-set-time": _command(_set_time, "time"),
    "guest-set-user-password": _command(_set_password, "username password crypted"),
    "guest-shutdown": _command(_shutdown, "mode", answers=False),
    "guest-exec": _command(_exec, "path arg env input-data capture-output"),
    "guest-exec-status": _command(_exec_status, "pid"),
    "guest-file-open": _command(_open, "path mode"),
    "guest-file-close": _command(_close, "handle"),
    "guest-file-flush": _command(_flush, "handle"),
    "guest-file-read": _command(_read, "handle count"),
    "guest-file-write": _command(_write, "handle buf-b64 count"),
    "guest-file-seek": _command(_seek, "handle offset whence"),
}
"""Every command by its name."""


def carry_out(agent: Agent, name: str, arguments: Arguments) -> Any:
    """Carry a command out and return its result; raises `RefusalError` where the agent answers with an error."""
    command = COMMANDS.get(name)
    if command is None:
        raise RefusalError(f"The command {name} has not been found", "CommandNotFound")
    for unknown in arguments.keys() - command.arguments:
        raise RefusalError(f"Parameter '{unknown}' is unexpected")
    return command.function(agent, arguments)
