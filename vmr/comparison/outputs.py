"""The first line in which two outputs differ, read piece by piece: an output of any size takes a few pieces of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

BEFORE: Final = 80
"""Bytes of the line that are shown before the first byte that differs."""
AFTER: Final = 120
"""Bytes that are shown from there on."""

Piece = tuple[int, int, bytes]
"""Number of the output, position of the piece's first byte in it, bytes."""


class Difference(msgspec.Struct, frozen=True):
    """Where two outputs begin to differ.

    Attributes:
        line: number of the line, from 1.
        byte: position of the first byte that differs, in its line, from 1.
        a: the line in the one output, or the part of it around that byte; None where that output has ended before the line.
        b: the same in the other output.

    """

    line: int
    byte: int
    a: str | None
    b: str | None


class Outputs:
    """The outputs of one side, by number in rising order, from the pieces that were captured of them."""

    def __init__(self, pieces: Iterable[Piece], skip_to: Callable[[int], None] | None = None) -> None:
        """Read ``pieces``, which are in order of number and position; ``skip_to`` is told before which nothing is wanted any more."""
        self._pieces = iter(pieces)
        self._skip_to = skip_to
        self._next = next(self._pieces, None)

    def take(self, number: int) -> Iterator[bytes]:
        """Yield the bytes of the output ``number``, those that were captured twice once; nothing where there is no such output."""
        if self._skip_to is not None:
            self._skip_to(number)
        end = 0
        while self._next is not None and self._next[0] <= number:
            found, first, data = self._next
            self._next = next(self._pieces, None)
            if found == number:
                fresh = data[max(0, end - first) :]
                end = max(end, first + len(data))
                if fresh:
                    yield fresh


class _Reader:
    """One output, and the piece of it that is being compared."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.buffer = b""

    def fill(self) -> None:
        if not self.buffer:
            self.buffer = next(self._pieces, b"")

    def drop(self, count: int) -> None:
        self.buffer = self.buffer[count:]

    def ahead(self) -> bytes:
        """Return what follows, to the end of the line or as far as it is shown."""
        while len(self.buffer) <= AFTER and b"\n" not in self.buffer:
            more = next(self._pieces, b"")
            if not more:
                break
            self.buffer += more
        line, _, _ = self.buffer.partition(b"\n")
        return line[:AFTER] + (b"" if len(line) <= AFTER else "…".encode())

    @property
    def ended(self) -> bool:
        self.fill()
        return not self.buffer


def first_difference(a: Iterator[bytes], b: Iterator[bytes]) -> Difference | None:
    """Return where the bytes of ``a`` and ``b`` begin to differ, None where they are the same."""
    left, right = _Reader(a), _Reader(b)
    line, column, tail = 1, 1, b""
    while True:
        left.fill()
        right.fill()
        common = _common(left.buffer, right.buffer)
        same = left.buffer[:common]
        if newlines := same.count(b"\n"):
            line, column, tail = line + newlines, 1, b""
        rest = same[same.rfind(b"\n") + 1 :]
        column, tail = column + len(rest), (tail + rest)[-BEFORE:]
        shortest = min(len(left.buffer), len(right.buffer))
        left.drop(common)
        right.drop(common)
        if common < shortest:
            break
        if left.ended or right.ended:
            if left.ended and right.ended:
                return None
            break
    before = (b"" if column <= BEFORE + 1 else "…".encode()) + tail
    return Difference(line, column, _shown(before, left, column), _shown(before, right, column))


def _shown(before: bytes, reader: _Reader, column: int) -> str | None:
    if reader.ended and column == 1:
        return None
    return (before + reader.ahead()).decode("utf-8", "backslashreplace")


def _common(a: bytes, b: bytes) -> int:
    """Return how many bytes ``a`` and ``b`` have in common from their beginnings."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
