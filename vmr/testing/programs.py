"""What the programs of a simulated guest do: how long they run, what they print and when, how they end."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from vmr.errors import InvalidInputError

_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that a program writes at one moment, or again and again.

    Attributes:
        text: what is written, as UTF-8; ``{n}`` in it is the number of the repetition, from 0, when there is more than
            one.
        data: bytes to write instead of ``text`` (base64 in a file).
        stream: ``stdout`` or ``stderr``.
        at: seconds after the program's start.
        count: how many times it is written.
        every: seconds between two times.

    """

    text: str = ""
    data: bytes = b""
    stream: Literal["stdout", "stderr"] = "stdout"
    at: _Seconds = 0.0
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    every: _Seconds = 0.0

    def pieces(self) -> Iterable[tuple[float, str, bytes]]:
        """Return each time, stream and bytes."""
        for number in range(self.count):
            text = self.text.replace("{n}", str(number)) if self.count > 1 else self.text
            yield self.at + number * self.every, self.stream, self.data or text.encode()


class SimulatedProgram(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one program does.

    Attributes:
        duration: seconds from start to end; infinity never ends.
        exit_code: how it ends.
        signal: the signal that kills it at its end, instead of an exit code.
        stdout: what it prints at once.
        stderr: likewise, on standard error.
        output: what it writes later, or as bytes; what comes after ``duration`` is never written.
        reboots: in how many attempts, the first ones, a launch of it leaves a ``reboot`` file.

    """

    duration: _Seconds = 0.0
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    signal: int | None = None
    stdout: str = ""
    stderr: str = ""
    output: tuple[Output, ...] = ()
    reboots: Annotated[int, msgspec.Meta(ge=0)] = 0

    def timeline(self) -> list[tuple[float, str, bytes]]:
        """Return all that it writes before it ends, in order of time: seconds from its start, stream, bytes."""
        pieces = [(0.0, "stdout", self.stdout.encode()), (0.0, "stderr", self.stderr.encode())]
        pieces += [piece for output in self.output for piece in output.pieces()]
        return sorted((p for p in pieces if p[2] and p[0] <= self.duration), key=lambda piece: piece[0])


NOTHING: Final = SimulatedProgram()
"""The program that ends at once, without a word, with exit code 0."""


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How simulated guests behave.

    Attributes:
        programs: programs by a pattern (``*``, ``?``, ``[…]``) of their name, path or whole command line;
            the first that fits is taken. What fits none is what the simulated shell makes of it, or ends at once with
            exit code 0.
        latency: seconds by which the agent delays every reply.
        boot_seconds: how long a reboot takes before the agent answers again.
        socket: ``process`` closes it whenever the agent ends, as that of an agent in a namespace does; ``machine``
            keeps it open until the power is off, as a virtual machine does: a reboot is no end of the connection,
            requests wait for the agent, and replies to a client that has left reach the next one.
        system: what the guests run: ``posix``, or ``windows`` with its paths, locks and command lines.

    """

    programs: Mapping[str, SimulatedProgram] = {}
    latency: _Seconds = 0.0
    boot_seconds: _Seconds = 0.0
    socket: Literal["process", "machine"] = "process"
    system: Literal["posix", "windows"] = "posix"

    def find(self, command_line: str, entry: str = "") -> SimulatedProgram | None:
        """Return the program for a command line, or ``entry``, its ``<time>/<name>`` in the spool; None for neither."""
        if not self.programs:
            return None
        path = (command_line.split(maxsplit=1) or [""])[0]
        names = {command_line, path, path.rsplit("/", 1)[-1], entry}
        for pattern, program in self.programs.items():
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                return program
        return None


def load_behaviour(path: Path) -> Behaviour:
    """Read a `Behaviour` from a YAML (or JSON) file; raise `InvalidInputError`, naming the place, when it is wrong."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Behaviour)
    except OSError as error:
        raise InvalidInputError(f"behaviour of simulated guests {path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InvalidInputError(f"behaviour of simulated guests {path}: {error}") from error
