"""The comparison as one HTML page that needs nothing else: no script, no network; for a screen, light or dark, and for paper.

What guests wrote is on it. The template escapes every value, control characters and those of text direction are spelled out, and
the page's own policy forbids scripts and anything from elsewhere.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec

from vmr import new_files
from vmr.comparison.columns import BY_ENTRY, COLUMNS, FACTS, Form, text
from vmr.comparison.model import Comparison, Row
from vmr.report.text import one_line

MOST_ROWS: Final = 500
"""A list on the page has at most so many rows, and says how many there are."""

_WIDTH: Final = 360
_HEIGHT: Final = 150
_BASE: Final = 130
_TITLES: Final = {
    "duration": "Durations, seconds",
    "lateness": "Lateness, seconds",
    "ratio": "Durations, B / A",
}


class _Bar(msgspec.Struct, frozen=True):
    side: str
    x: float
    y: float
    width: float
    height: float
    title: str


class _Tick(msgspec.Struct, frozen=True):
    x: float
    text: str
    anchor: str


class _Chart(msgspec.Struct, frozen=True):
    title: str
    bars: list[_Bar]
    ticks: list[_Tick]
    most: str
    width: int = _WIDTH
    height: int = _HEIGHT
    base: int = _BASE


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page to ``path``, all or nothing; raise `InvalidInputError` when it cannot be written."""
    with new_files.writing(path, force=True) as part, part.open("wb") as file:
        _template().stream(
            c=comparison,
            facts=FACTS,
            columns=COLUMNS,
            by_entry=BY_ENTRY,
            most=MOST_ROWS,
            more=_more,
            charts=_charts(comparison),
        ).dump(file, encoding="utf-8", errors="replace")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vmr.comparison"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"shown": _shown, "cell": _cell, "capitalize_first": _capital}
    return environment.get_template("comparison.html.j2")


def _shown(value: Any) -> str:
    """Return text of a guest, or of a file's name, with characters that a reader does not see spelled out."""
    return one_line(text(value))


def _cell(value: Any, form: Form) -> str:
    return one_line(text(value, form))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _more(rows: list[Row]) -> str:
    if len(rows) <= MOST_ROWS:
        return ""
    return f"{MOST_ROWS:,} of {len(rows):,} are shown; vmr compare --json has all of them."


def _charts(comparison: Comparison) -> list[_Chart]:
    by_measure: dict[str, list[Row]] = {}
    for row in comparison.histograms:
        by_measure.setdefault(row["measure"], []).append(row)
    return [_chart(measure, rows) for measure, rows in by_measure.items()]


def _chart(measure: str, rows: list[Row]) -> _Chart:
    most = max(max(row["a"], row["b"]) for row in rows)
    step = _WIDTH / len(rows)
    sides = "b" if measure == "ratio" else "ab"
    bars = [
        _bar(row, side, place * step + index * step * 0.9 / len(sides), step * 0.9 / len(sides), most)
        for place, row in enumerate(rows)
        for index, side in enumerate(sides)
        if row[side]
    ]
    return _Chart(_TITLES[measure], bars, _ticks(rows, step), f"{most:,}")


def _bar(row: Row, side: str, x: float, width: float, most: int) -> _Bar:
    height = max(1.0, (_BASE - 16) * row[side] / most)
    title = f"{side.upper()}: {row[side]:,} from {row['least']:.3g} to {row['most']:.3g}"
    return _Bar(side, round(x, 2), round(_BASE - height, 2), round(width, 2), round(height, 2), title)


def _ticks(rows: list[Row], step: float) -> list[_Tick]:
    """Return some five places of the axis with their values, the first and the last among them."""
    every = max(1, math.ceil(len(rows) / 4))
    places = sorted({*range(0, len(rows) - every // 2, every), len(rows)})
    edges = [row["least"] for row in rows] + [rows[-1]["most"]]
    anchors = {0: "start", len(rows): "end"}
    return [_Tick(round(place * step, 2), f"{edges[place]:.3g}", anchors.get(place, "middle")) for place in places]
