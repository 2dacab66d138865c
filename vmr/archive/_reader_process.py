"""Processes that read Parquet files of archives: what is in a damaged or hostile file can end them, and not their caller.

A request is a line of JSON on standard input, the answer a line on standard output.
"""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from vmr.archive._messages import Checked, Database, check

_SECONDS: Final = 120.0
_PROGRAM: Final = f"from {__name__} import main; main()"


class _Request(msgspec.Struct, frozen=True):
    path: str
    first: int
    last: int
    before: str
    after: str | None


_requests = msgspec.json.Decoder(_Request)
_answers = msgspec.json.Decoder(Checked)


class PartReader:
    """A process of its own that looks into parts, one after another; one that does not answer is replaced.

    Args:
        seconds: how long a look may take.

    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def check(self, path: Path, first: int, last: int, before: str, after: str | None) -> Checked:
        """Return what `vmr.archive._messages.check` says; a part that ends its reader has no whole event."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        request = msgspec.json.encode(_Request(str(path), first, last, before, after))
        try:
            process.stdin.write(request + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self._seconds)
            answer = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            answer = b""
        if answer:
            return _answers.decode(answer)
        self.close()
        return Checked(0, before, "it cannot be read (its reader gave no answer)")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process


def main() -> None:
    """Answer requests until there are no more."""
    database = Database()
    for line in sys.stdin.buffer:
        asked = _requests.decode(line)
        found = check(database, Path(asked.path), asked.first, asked.last, asked.before, asked.after)
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()
