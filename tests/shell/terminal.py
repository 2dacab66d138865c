"""A program on a pseudo-terminal, as a person sits before it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect

PROMPT = "vmr>"
CTRL_C, CTRL_D, TAB, ENTER = "\x03", "\x04", "\t", "\r"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_PROGRAM = "from vmr.cli import main; raise SystemExit(main())"


def command_line(home: Path, *words: str) -> list[str]:
    """Return the command line of ``vmr`` with ``words``, for ``home``."""
    return [sys.executable, "-c", _PROGRAM, "--home", str(home), *words]


class Terminal:
    """Types into a program, and waits for what it shows."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        """Start ``command`` on a terminal of 120 columns and 40 lines."""
        kept = {name: value for name, value in os.environ.items() if name not in {"PAGER", "LESS"}}
        self._child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env=kept | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"} | environment,
            encoding="utf-8",
            dimensions=(40, 120),
            timeout=20,
        )

    def type(self, keys: str) -> None:
        """Type ``keys``."""
        self._child.send(keys)

    def enter(self, line: str) -> None:
        """Type ``line`` and Enter."""
        self._child.send(line + ENTER)

    def until(self, shown: str) -> str:
        """Wait until the program has shown the regular expression ``shown``, and return everything up to there, without colours."""
        return _ESCAPE.sub("", self.raw(shown))

    def raw(self, shown: str) -> str:
        """Wait as `until` does, and return everything as it was sent."""
        self._child.expect(shown)
        before, after = self._child.before, self._child.after
        assert isinstance(before, str)
        assert isinstance(after, str)
        return before + after

    def ended(self) -> int:
        """Wait until the program has ended, and return its exit code."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        assert isinstance(self._child.exitstatus, int)
        return self._child.exitstatus

    def close(self) -> None:
        """End the program if it still runs."""
        self._child.close(force=True)
