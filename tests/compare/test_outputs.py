"""The first line in which two outputs differ, however they were cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmr.comparison.outputs import AFTER, BEFORE, Difference, Outputs, first_difference

_text = st.lists(st.sampled_from([b"a", b"b", b"\n", b"\xff"]), max_size=12).map(b"".join)


def _cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        piece, data = data[:size], data[size:]
        if piece:
            yield piece
    if data:
        yield data


def _expected(a: bytes, b: bytes) -> tuple[int, int] | None:
    if a == b:
        return None
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:same].count(b"\n") + 1, same - a[:same].rfind(b"\n")


@given(a=_text, b=_text, cuts=st.tuples(st.lists(st.integers(1, 4)), st.lists(st.integers(1, 4))))
def test_place(a: bytes, b: bytes, cuts: tuple[list[int], list[int]]) -> None:
    """Line and byte are those of the first byte that differs, whatever the pieces; the lines are those around it."""
    found = first_difference(_cut(a, cuts[0]), _cut(b, cuts[1]))
    expected = _expected(a, b)
    assert (None if found is None else (found.line, found.byte)) == expected
    if found is not None:
        lines = [data.split(b"\n") for data in (a, b)]
        for shown, of in zip((found.a, found.b), lines, strict=True):
            line = of[found.line - 1].decode("utf-8", "backslashreplace")
            assert (shown or "") == line


def test_an_output_that_ends_earlier() -> None:
    """Where one output has ended, it has no line."""
    assert first_difference(iter([b"one\n"]), iter([b"one\ntwo\n"])) == Difference(2, 1, None, "two")
    assert first_difference(iter([b"one\ntw"]), iter([b"one\ntwo\n"])) == Difference(2, 3, "tw", "two")


def test_a_missing_line_end() -> None:
    """A last line without its end is another output, though the line reads the same."""
    assert first_difference(iter([b"one"]), iter([b"one\n"])) == Difference(1, 4, "one", "one")


def test_endless_line() -> None:
    """Of a line of any length a bounded part is shown, around the byte that differs."""
    a, b = b"x" * 100_000 + b"A" + b"y" * 100_000, b"x" * 100_000 + b"B" + b"z" * 100_000
    found = first_difference(_cut(a, [7] * 9), _cut(b, [1000] * 300))
    assert found is not None
    assert found.byte == 100_001
    assert found.a == "…" + "x" * BEFORE + "A" + "y" * (AFTER - 1) + "…"


def test_characters_are_not_cut() -> None:
    """Where a part of a line is shown it begins and ends with whole characters; a byte that differs inside of one is in it."""
    same = "é" * 200
    found = first_difference(iter([f"x{same}ä{same}".encode()]), iter([f"x{same}ö{same}".encode()]))
    assert found is not None
    assert found.a == "…" + "é" * 39 + "ä" + "é" * 59 + "…"
    assert found.b == "…" + "é" * 39 + "ö" + "é" * 59 + "…"


def test_outputs_by_number() -> None:
    """Each output has its own pieces; gaps are skipped, what was captured twice counts once, and what nobody took is passed over."""
    outputs = Outputs([(1, 0, b"ab"), (1, 1, b"bc"), (2, 0, b"x"), (4, 5, b"late"), (4, 0, b"late")])
    assert list(outputs.take(1)) == [b"ab", b"c"]
    assert list(outputs.take(3)) == []
    assert b"".join(outputs.take(4)) == b"late"


def test_memory_is_bounded() -> None:
    """Two long outputs are compared without being put together."""
    piece = bytes(1 << 20)

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield piece

    tracemalloc = pytest.importorskip("tracemalloc")
    tracemalloc.start()
    try:
        assert first_difference(endless(), endless()) is None
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
