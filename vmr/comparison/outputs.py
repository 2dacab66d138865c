"""The first line in which two outputs differ, read piece by piece: an output of any size takes a few pieces of memory."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

BEFORE: Final = 80
"""Bytes of the line that are shown before the first byte that differs."""
AFTER: Final = 120
"""Bytes that are shown from there on."""
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_decoder = codecs.getincrementaldecoder("utf-8")

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

    @property
    def ended(self) -> bool:
        """Whether nothing is left, also in what has not been read."""
        if not self.buffer:
            self.buffer = next(self._pieces, b"")
        return not self.buffer

    def drop(self, count: int) -> None:
        self.buffer = self.buffer[count:]

    def ahead(self) -> tuple[bytes, bool]:
        """Return what follows, to the end of the line or as far as it is shown, and whether that is short of the line's end."""
        while len(self.buffer) <= AFTER and b"\n" not in self.buffer:
            more = next(self._pieces, b"")
            if not more:
                break
            self.buffer += more
        line, _, _ = self.buffer.partition(b"\n")
        return line[:AFTER], len(line) > AFTER


class _Place:
    """How far two outputs are the same: the line, the byte in it, and what came before on that line."""

    def __init__(self) -> None:
        self.line = self.byte = 1
        self._before = b""

    def advance(self, same: bytes) -> None:
        lines, rest = same.count(b"\n"), same[same.rfind(b"\n") + 1 :]
        if lines:
            self.line, self.byte, self._before = self.line + lines, 1, b""
        self.byte, self._before = self.byte + len(rest), (self._before + rest)[-BEFORE:]

    def shown(self, reader: _Reader) -> str | None:
        """Return the line of ``reader`` around this place, None when it ended before the line."""
        if reader.ended and self.byte == 1:
            return None
        after, cut = reader.ahead()
        begun_before = self.byte > len(self._before) + 1
        # A character whose beginning or end is not shown is left out: its other bytes would look like something else.
        before = self._before.lstrip(_CONTINUATION) if begun_before else self._before
        text = _decoder("backslashreplace").decode(before + after, final=not cut)
        return ("…" if begun_before else "") + text + ("…" if cut else "")


def first_difference(a: Iterator[bytes], b: Iterator[bytes]) -> Difference | None:
    """Return where the bytes of ``a`` and ``b`` begin to differ, None where they are the same."""
    left, right, place = _Reader(a), _Reader(b), _Place()
    while not (left.ended or right.ended):
        common = _common(left.buffer, right.buffer)
        place.advance(left.buffer[:common])
        differs = common < min(len(left.buffer), len(right.buffer))
        left.drop(common)
        right.drop(common)
        if differs:
            break
    if left.ended and right.ended:
        return None
    return Difference(place.line, place.byte, place.shown(left), place.shown(right))


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
