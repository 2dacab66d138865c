"""What programs wrote, bounded: of every execution and stream the beginning and the end, and how much lies between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, TypeAlias

from vmr.report.text import beginning, end, lines

TOTAL: Final = 32 * 1024 * 1024
"""Bytes of output that a report holds at most; where there is more, each execution has less."""
_LEAST: Final = 64

Key: TypeAlias = tuple[str, str, int]
"""Which execution: uuid of the VM, id of the entry, number of the attempt."""
Row: TypeAlias = tuple[str, str, int, str, int, int, bytes]
"""A piece: the execution, the stream, how many bytes that has, the place of the first byte, the bytes."""


def bound(sizes: Iterable[int], wanted: int) -> int:
    """Return how many bytes of the beginning and of the end of each stream to keep: ``wanted``, halved until all is within `TOTAL`."""
    known = list(sizes)
    while wanted > _LEAST and sum(min(size, 2 * wanted) for size in known) > TOTAL:
        wanted //= 2
    return wanted


def excerpts(rows: Iterable[Row], kept: int) -> Iterator[tuple[Key, dict[str, dict[str, Any]]]]:
    """Yield each execution with the excerpt of each of its streams: of at most ``kept`` bytes of its beginning, and of its end.

    ``rows`` are the pieces of ``projections/report/outputs.sql`` for the same bound, in its order. An excerpt has the ``size`` of the
    stream, its ``head`` and ``tail`` as text, how many bytes lie ``between`` them, and how many are ``missing`` in the record.
    """
    for key, of_attempt in groupby(rows, lambda row: row[:3]):
        yield key, {stream: _excerpt(list(pieces), kept) for stream, pieces in groupby(of_attempt, lambda row: row[3])}


def _excerpt(pieces: list[Row], kept: int) -> dict[str, Any]:
    size = pieces[0][4]
    first = b"".join(piece[6] for piece in pieces if piece[5] < kept)
    last = b"".join(piece[6] for piece in pieces if piece[5] >= kept)
    missing = min(size, 2 * kept) - len(first) - len(last)
    if size <= 2 * kept:
        return _said(size, head=lines((first + last).decode("utf-8", "backslashreplace")), missing=missing)
    (head, head_size), (tail, tail_size) = beginning(first), end(last)
    between = size - head_size - tail_size - missing
    return _said(size, head=lines(head), tail=lines(tail), between=between, missing=missing)


def _said(size: int, **rest: str | int) -> dict[str, Any]:
    return {"size": size} | {key: value for key, value in rest.items() if value}
