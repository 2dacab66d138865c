"""A simulated guest's agent: bytes in, bytes out, as the stock QEMU guest agent (7.2) does it. No sockets, no tasks.

What differs from the stock agent, beyond what it executes: a request must end with a newline, and the words of some
rare errors.
"""

from __future__ import annotations

import fnmatch
from typing import Any, Final, Literal, NamedTuple

import msgspec

from vmr.clock import Clock
from vmr.testing.agent_commands import COMMANDS, Agent, carry_out
from vmr.testing.arguments import RefusalError
from vmr.testing.filesystem import FileSystem
from vmr.testing.machine import Machine
from vmr.testing.programs import Behaviour

_STRAY: Final = b'{"error": {"class": "GenericError", "desc": "JSON parse error, stray \'\\uFFFD\'"}}\n'


class Fault(msgspec.Struct, frozen=True):
    """Something that goes wrong with an agent, for the next command that fits.

    Attributes:
        action: ``drop`` carries the command out and loses its reply; ``lose`` loses the command; ``delay`` delays its
            reply, and all later ones, by ``seconds``; ``garbage`` sends ``data`` in place of the reply; ``refuse``
            answers with an error; ``hang`` stops the agent before the command, as a SIGSTOP would, until
            `SimulatedGuest.resume`; ``die`` ends the agent before it.
        command: pattern (``*``, ``?``) of the command's name.
        seconds: length of a delay.
        data: the garbage.

    """

    action: Literal["drop", "lose", "delay", "garbage", "refuse", "hang", "die"]
    command: str = "*"
    seconds: float = 0.0
    data: bytes = b""


class Answer(NamedTuple):
    """Bytes that the agent sends: ``delay`` seconds after the request came, and never before earlier answers."""

    delay: float
    data: bytes


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    execute: str
    arguments: dict[str, Any] = {}
    id: Any = msgspec.UNSET


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class SimulatedGuest:
    """One simulated guest and its agent.

    Attributes:
        machine: its inside: files, processes, boots.
        agent: what its agent knows.
        state: ``running``; ``rebooting`` or ``off`` after it was told to shut down; ``dead`` when its agent has died.
            Who serves the guest closes the connection then, and calls `boot` or `restart_agent` when it is to go on.
        commands: how many commands it has carried out.

    """

    def __init__(self, name: str = "guest", behaviour: Behaviour | None = None, clock: Clock | None = None) -> None:
        self.machine = Machine(name, behaviour or Behaviour(), clock)
        self.agent = Agent(self.machine)
        self.state: Literal["running", "rebooting", "off", "dead"] = "running"
        self.commands = 0
        self._faults: list[Fault] = []
        self._buffer = bytearray()
        self._stopped = False

    @property
    def files(self) -> FileSystem:
        """The guest's files."""
        return self.machine.files

    def inject(self, *faults: Fault) -> None:
        """Have ``faults`` happen, each once, in this order where several fit."""
        self._faults += faults

    def boot(self) -> None:
        """Boot again: running programs, process ids and file handles are gone, files stay."""
        self.machine.boot()
        self.restart_agent()

    def restart_agent(self) -> None:
        """Start a new agent: it knows no handle and no process of the old one. Programs run on."""
        self.agent.restart()
        self._buffer = bytearray()
        self._stopped = False
        self.state = "running"

    def stop(self) -> None:
        """Stop the agent, as a SIGSTOP would: requests wait until `resume`."""
        self._stopped = True

    def resume(self) -> list[Answer]:
        """Let a stopped agent go on; return its answers to what was sent meanwhile."""
        self._stopped = False
        return self.receive(b"")

    def receive(self, data: bytes) -> list[Answer]:
        """Take bytes from the agent's client and return what the agent sends back."""
        self._buffer += data
        answers: list[Answer] = []
        while self.state == "running" and not self._stopped and (line := self._next_line()) is not None:
            *before, request = line.split(b"\xff")
            answers += [Answer(self._latency, _STRAY) for _ in before]
            if request.strip():
                answers += self._serve(request)
        return answers

    @property
    def _latency(self) -> float:
        return self.machine.behaviour.latency

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _serve(self, line: bytes) -> list[Answer]:
        try:
            request = _decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return [self._error(RefusalError(f"JSON parse error, {error}"), msgspec.UNSET)]
        fault = next((fault for fault in self._faults if fnmatch.fnmatchcase(request.execute, fault.command)), None)
        if fault is None:
            return self._execute(request)
        self._faults.remove(fault)
        return self._go_wrong(request, fault, line)

    def _go_wrong(self, request: _Request, fault: Fault, line: bytes) -> list[Answer]:
        match fault.action:
            case "lose":
                return []
            case "die":
                self.state = "dead"
                return []
            case "hang":
                self._buffer[:0] = line + b"\n"
                self.stop()
                return []
            case "refuse":
                return [self._error(RefusalError("refused by a fault of the simulation"), request.id)]
        answers = self._execute(request)
        match fault.action:
            case "drop":
                return []
            case "garbage":
                return [Answer(self._latency, fault.data)]
        return [Answer(answer.delay + fault.seconds, answer.data) for answer in answers]

    def _execute(self, request: _Request) -> list[Answer]:
        self.commands += 1
        try:
            result = carry_out(self.agent, request.execute, request.arguments)
        except RefusalError as refusal:
            return [self._error(refusal, request.id)]
        self._obey()
        return [self._success(request, result)] if COMMANDS[request.execute].answers else []

    def _obey(self) -> None:
        if self.agent.power:
            self.state = "rebooting" if self.agent.power == "reboot" else "off"
            self.machine.power_off()

    def _success(self, request: _Request, result: Any) -> Answer:
        reply = {"return": result} if request.id is msgspec.UNSET else {"return": result, "id": request.id}
        mark = b"\xff" if request.execute == "guest-sync-delimited" else b""
        return Answer(self._latency, mark + _encode(reply) + b"\n")

    def _error(self, refusal: RefusalError, identity: Any) -> Answer:
        reply: dict[str, Any] = {} if identity is msgspec.UNSET else {"id": identity}
        reply["error"] = {"class": refusal.error_class, "desc": refusal.description}
        return Answer(self._latency, _encode(reply) + b"\n")
