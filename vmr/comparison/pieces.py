"""The captured pieces of outputs, in order, read from a record some megabytes at a time.

Sorting the pieces themselves would take as much memory as there is output; where each of them lies is a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vmr.comparison.outputs import Piece

BYTES: Final = 64 << 20
"""Pieces are read in groups of about so many bytes."""
MOST: Final = 100_000
"""Pieces in one group."""

Place = tuple[int, int, int, int]
"""Number of the output, position of the piece's first byte in it, bytes, place of the piece in the record."""


class Pieces:
    """An iterator over the pieces of one side."""

    def __init__(self, places: Sequence[Place], read: Callable[[list[int]], dict[int, bytes]]) -> None:
        """Go through ``places``, which are in order; ``read`` returns the bytes that lie at some of them."""
        self._places = places
        self._read = read
        self._done = 0
        self._least = 0

    def skip_to(self, number: int) -> None:
        """Say that no output before ``number`` is wanted any more: what has not been read of them stays unread."""
        self._least = number

    def __iter__(self) -> Iterator[Piece]:
        while group := self._next_group():
            found = self._read([place for _, _, _, place in group])
            for number, first, _, place in group:
                yield number, first, found[place]

    def _next_group(self) -> list[Place]:
        group: list[Place] = []
        total = 0
        while self._done < len(self._places) and total < BYTES and len(group) < MOST:
            place = self._places[self._done]
            self._done += 1
            if place[0] >= self._least:
                group.append(place)
                total += place[2]
        return group
