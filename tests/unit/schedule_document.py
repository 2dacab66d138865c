"""The examples of ``docs/schedules.md``: each is a schedule in YAML and, right after it, a table of what becomes of it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Final

import msgspec

from vmr.experiment import parse_experiment
from vmr.schedule import Entry

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "schedules.md"
_EXAMPLE: Final = re.compile(r"```yaml\n(?P<yaml>(?:(?!```).)*)```\n\n(?P<table>(?:\|[^\n]*\|\n)+)", re.DOTALL)


class Example(msgspec.Struct, frozen=True):
    """One example: its line in the document, its schedule in YAML, the table's heading and its rows."""

    line: int
    text: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def entries_of(text: str) -> tuple[Entry, ...]:
    """Return the entries of a schedule in YAML."""
    experiment = f"name: example\nvms:\n  vm:\n    schedule:\n{textwrap.indent(text, '      ')}"
    return parse_experiment(experiment, DOCUMENT).vms[0].entries


def examples(heading: str) -> list[Example]:
    """Return the examples whose tables begin with this heading."""
    document = DOCUMENT.read_text()
    found = [_example(document, match) for match in _EXAMPLE.finditer(document)]
    return [each for each in found if each.heading[0] == heading]


def _example(document: str, match: re.Match[str]) -> Example:
    heading, _, *rows = (_cells(line) for line in match["table"].splitlines())
    return Example(document[: match.start()].count("\n") + 1, match["yaml"], heading, tuple(rows))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))
