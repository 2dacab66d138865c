"""Rows on a terminal, in a pipe, as JSON and as CSV, whatever bytes are in them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmr.cli.output import Format, json_line, pick_format, print_rows, visible
from vmr.errors import InvalidInputError

NASTY = "\x1b]0;title\x07 \x9b31m \u202e \x00"


@given(st.text())
def test_visible_text_holds_no_control_characters(text: str) -> None:
    """Nothing that a terminal acts upon comes through, except line ends and tabs."""
    shown = visible(text)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown if char not in "\n\t")
    shown.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_says_exactly_what_there_was_in_one_line(text: str) -> None:
    """A line of JSON is one line, without raw control characters, and reads back as the same text."""
    line = json_line({"text": text})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"text": text}
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in line.decode()[:-1])


def test_json_takes_what_rows_hold() -> None:
    """Bytes, times, decimals, and text that is no Unicode."""
    time = datetime(2026, 1, 31, 12, tzinfo=UTC)
    line = json_line({"b": b"\xff", "t": time, "d": Decimal("1.50"), "s": "\ud800", "n": None})
    assert json.loads(line) == {"b": "/w==", "t": "2026-01-31T12:00:00Z", "d": "1.50", "s": "?", "n": None}


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row is an object of its own."""
    print_rows(["a", "b"], [(1, "x"), (2, NASTY)], Format.JSON)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1, "b": "x"}, {"a": 2, "b": NASTY}]


def test_csv_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Commas, quotes, line ends and missing values survive."""
    print_rows(["a", "b"], [('x, "y"', "1\n2"), (None, b"\xff")], Format.CSV)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["a", "b"], ['x, "y"', "1\n2"], ["", "/w=="]]


def test_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks at a width, every value stands in one line."""
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rows(["name", "value"], [("x" * 500, 1)], title="Title")
    out = capsys.readouterr().out
    assert "x" * 500 in out
    assert "Title" in out


def test_table_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a width, nothing is wider, and nothing is lost."""
    monkeypatch.setenv("COLUMNS", "40")
    print_rows(["name", "value"], [("x" * 100, 1)])
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 40
    assert out.count("x") == 100


def test_table_shows_markup_and_control_characters_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """What a guest wrote is shown and not obeyed."""
    print_rows(["[red]"], [("[bold]x[/bold]" + NASTY,), (True,), (None,)])
    out = capsys.readouterr().out
    assert "[red]" in out
    assert "[bold]x[/bold]" in out
    assert "\\x1b]0;title\\x07 \\x9b31m \\u202e \\x00" in out
    assert "true" in out


def test_two_formats_are_one_too_many() -> None:
    """A command prints in one format."""
    assert pick_format(as_json=False, as_csv=True) is Format.CSV
    with pytest.raises(InvalidInputError, match="--json and --csv"):
        pick_format(as_json=True, as_csv=True)
