"""What guests wrote, bounded and made harmless."""

from __future__ import annotations

import pytest

from vmr.report.outputs import TOTAL, Row, bound, excerpts
from vmr.report.text import beginning, end, lines, one_line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\x00b\x7f\x9bc", "a\\x00b\\x7f\\u009bc"),
        ("txt\u202egpj.\u2066", "txt\\u202egpj.\\u2066"),
        ("one\u2028two\u2029", "one\\u2028two\\u2029"),
        ("two\nlines\tand é, 漢, 🙂", "two\\nlines\\tand é, 漢, 🙂"),
        ("hidden\U000e0041", "hidden\\U000e0041"),
    ],
)
def test_nothing_hides_or_acts(text: str, wanted: str) -> None:
    """Terminals' escapes, changes of direction and invisible characters become visible; letters of every script stay."""
    assert one_line(text) == wanted


def test_output_keeps_its_lines() -> None:
    """Line ends and tabs stay; a carriage return is kept visible where it would write over its line."""
    assert lines("a\r\nb\tc\rd\x1bc") == "a\nb\tc\\rd\\x1bc"


def test_no_character_is_cut_in_two() -> None:
    """A character of several bytes at the cut is left out on both sides and counted as not shown; stray bytes are shown."""
    data = "né漢".encode()
    assert beginning(data[:2]) == ("n", 1)
    assert end(data[2:]) == ("漢", 3)
    assert beginning(b"ok\xff") == ("ok\\xff", 3)
    assert end(b"\xffok") == ("\\xffok", 3)


def _row(size: int, place: int, data: bytes) -> Row:
    return ("uuid", "1/x", 1, "stdout", size, place, data)


def test_long_output_is_its_beginning_its_end_and_a_number() -> None:
    """Bytes are shown or counted, each once."""
    rows = [_row(1000, 0, b"abc"), _row(1000, 3, b"d"), _row(1000, 996, b"wxyz")]
    ((key, streams),) = excerpts(rows, 4)
    assert key == ("uuid", "1/x", 1)
    assert streams == {"stdout": {"size": 1000, "head": "abcd", "tail": "wxyz", "between": 992}}


def test_output_that_is_missing_is_counted() -> None:
    """A hole in the record is no output that the report left out."""
    ((_, streams),) = excerpts([_row(7, 0, b"ab"), _row(7, 5, b"fg")], 4)
    assert streams["stdout"] == {"size": 7, "head": "abfg", "missing": 3}


def test_there_is_less_of_each_where_there_is_much() -> None:
    """The report stays of a size that a browser opens, whatever was written."""
    assert bound([10, 5000, 10**12], 1024) == 1024
    many = [10**6] * 100_000
    kept = bound(many, 1024)
    assert kept == 128
    assert sum(min(size, 2 * kept) for size in many) <= TOTAL
