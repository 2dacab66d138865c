"""The shell of a simulated guest: a few words that tests and demonstrations need, turned into a program's timeline.

It knows sequences (``;`` or lines) of ``true``, ``false``, ``echo WORDS [>&2]``, ``sleep N``, ``exit N``,
``kill -N $$`` and ``head -c N /dev/zero``. Any other text is a program of which nothing is known.
"""

from __future__ import annotations

import math
import re
import shlex
from typing import Final

import msgspec

from vmr.testing.programs import Output, SimulatedProgram

_UNKNOWN: Final = re.compile(r"[|&<>`(){}*?$\\]")
_NUMBER: Final = re.compile(r"\d+(\.\d*)?|inf(inity)?")


class _State(msgspec.Struct):
    time: float = 0.0
    code: int = 0
    signal: int | None = None
    over: bool = False
    output: list[Output] = []

    def write(self, text: str, stream: str = "stdout") -> None:
        self.output.append(Output(text, stream="stderr" if stream == "stderr" else "stdout", at=self.time))


def interpret(text: str) -> SimulatedProgram | None:
    """Return what the shell text does, or None when it is not of the few words known here."""
    state = _State()
    for statement in re.split(r"[;\n]", text):
        if state.over or not statement.strip():
            continue
        if not _run(state, statement.strip()):
            return None
    return SimulatedProgram(duration=state.time, exit_code=state.code, signal=state.signal, output=tuple(state.output))


def _run(state: _State, statement: str) -> bool:
    signal = re.fullmatch(r"kill -(\d+) \$\$", statement)
    if signal is not None:
        state.signal, state.over = int(signal[1]), True
        return True
    stream = "stderr" if statement.endswith(">&2") else "stdout"
    statement = statement.removesuffix(">&2")
    if _UNKNOWN.search(statement):
        return False
    try:
        words = shlex.split(statement)
    except ValueError:
        return False
    return _run_words(state, words, stream)


def _run_words(state: _State, words: list[str], stream: str) -> bool:
    before, state.code = state.code, 0
    match [words[0].rsplit("/", 1)[-1], *words[1:]]:
        case ["true", *_]:
            pass
        case ["false", *_]:
            state.code = 1
        case ["echo", *rest]:
            state.write(" ".join(rest) + "\n", stream)
        case ["sleep", seconds] if _NUMBER.fullmatch(seconds):
            state.time += float(seconds)
            state.over = math.isinf(state.time)
        case ["exit", code] if code.isdigit():
            state.code, state.over = int(code) % 256, True
        case ["exit"]:
            state.code, state.over = before, True
        case ["head", "-c", size, "/dev/zero"] if size.isdigit():
            state.output.append(Output(data=bytes(int(size)), at=state.time))
        case _:
            return False
    return True
