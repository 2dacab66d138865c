"""Rows for people (a table as wide as the terminal), for programs (JSON lines) and for spreadsheets (CSV); and errors.

What guests wrote can hold any bytes. Control characters never reach a terminal as such: tables show them as escapes, JSON spells them.
"""

from __future__ import annotations

import base64
import csv
import enum
import io
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vmr.errors import InvalidInputError

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_JSON_CONTROL: Final = re.compile(b"\x7f|\xc2[\x80-\x9f]")
_WIDE: Final = 100_000


class Format(enum.Enum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def pick_format(*, as_json: bool, as_csv: bool) -> Format:
    """Return the format that a command's options ask for; raise `InvalidInputError` when they ask for two."""
    if as_json and as_csv:
        raise InvalidInputError("--json and --csv are two formats: give one")
    return Format.JSON if as_json else Format.CSV if as_csv else Format.TABLE


def visible(text: str) -> str:
    """Return ``text`` with control characters, also those of text direction, as escapes: safe to show on a terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def json_line(value: Any) -> bytes:
    """Return ``value`` as one line of JSON without raw control characters; bytes become base64."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_without_surrogates(value))
    return _JSON_CONTROL.sub(lambda match: f"\\u{ord(match[0].decode()):04x}".encode(), encoded) + b"\n"


def _without_surrogates(value: Any) -> Any:
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in plain.items()}
    if isinstance(plain, list | tuple):
        return [_without_surrogates(item) for item in plain]
    return plain.encode("utf-8", "replace").decode() if isinstance(plain, str) else plain


def print_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    form: Format = Format.TABLE,
    *,
    title: str | None = None,
    footer: Sequence[str] | None = None,
) -> None:
    """Print ``rows`` to standard output. ``title`` and ``footer`` (a last row) are for tables only."""
    if form is Format.JSON:
        for line in json_lines(columns, rows):
            typer.echo(line, nl=False)
    elif form is Format.CSV:
        for line in csv_lines(columns, rows, for_terminal=sys.stdout.isatty()):
            typer.echo(line, nl=False)
    else:
        console().print(table(columns, list(rows), title=title, footer=footer))


def console() -> Console:
    """Return a console on standard output: as wide as the terminal, or as wide as need be when it is none."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDE if wide else None, soft_wrap=False, highlight=False, markup=False, emoji=False)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    footer: Sequence[str] | None = None,
) -> Table:
    """Return ``rows`` as a table; numbers stand to the right."""
    heading = None if title is None else Text(visible(title))
    result = Table(title=heading, title_justify="left", show_footer=footer is not None)
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        result.add_column(
            Text(visible(column)),
            footer=Text("" if footer is None else footer[index]),
            justify="right" if numbers else "left",
            overflow="fold",
        )
    for row in rows:
        result.add_row(*(Text(cell_text(value)) for value in row))
    return result


def cell_text(value: Any) -> str:
    """Return what a table shows of ``value``, safe to show on a terminal."""
    return visible(_cell(value))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def json_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Yield each row as one line of JSON, an object."""
    for row in rows:
        yield json_line(dict(zip(columns, row, strict=True)))


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, for_terminal: bool) -> Iterator[bytes]:
    """Yield the names of the columns and each row as CSV; a file gets every character as it is, a terminal no control characters."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in itertools.chain([columns], rows):
        writer.writerow([base64.b64encode(item).decode() if isinstance(item, bytes) else item for item in row])
        text = buffer.getvalue()
        yield (visible(text) if for_terminal else text).encode("utf-8", "replace")
        buffer.seek(0)
        buffer.truncate()


def print_error(message: str) -> None:
    """Print an error to standard error, in red on a terminal."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(visible(message), style="red"))


def print_note(message: str) -> None:
    """Print a remark to standard error, so that it never mixes with data."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(visible(message)))
