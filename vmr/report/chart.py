"""The curve of the barrier as SVG: how many VMs were ready, over time. Drawn once for wide and once for narrow pages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

_SIZES: Final = (("wider", 720, 250), ("narrow", 360, 230))
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 28


class Tick(msgspec.Struct, frozen=True):
    """A mark of an axis: where it is, in units of the drawing, and what it says."""

    at: float
    text: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A drawing of one size; all numbers are units of the drawing.

    Attributes:
        size: ``wider`` or ``narrow``.
        width: of all of it.
        height: of all of it.
        left: where the curve's field begins.
        right: where it ends.
        top: its upper end.
        bottom: its lower end.
        across: marks of time.
        up: marks of numbers of VMs.
        curve: the curve, as an SVG path.
        area: what is below the curve.
        start: where the experiment's start is; None when there was none.

    """

    size: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    across: list[Tick]
    up: list[Tick]
    curve: str
    area: str
    start: float | None


def charts(ready: Sequence[float], begin: float, start: float | None, vms: int) -> list[Chart]:
    """Return the curve of ``vms`` VMs that were ready at the seconds ``ready``, from ``begin`` on; none when nobody was ready."""
    if not ready:
        return []
    end = max(*ready, begin + 1e-3, begin if start is None else start)
    return [_chart(size, width, height, sorted(ready), (begin, end), start, vms) for size, width, height in _SIZES]


def _chart(
    size: str, width: int, height: int, ready: Sequence[float], span: tuple[float, float], start: float | None, vms: int
) -> Chart:
    right, bottom = width - _RIGHT, height - _BOTTOM

    def across(second: float) -> float:
        return round(_LEFT + (second - span[0]) / (span[1] - span[0]) * (right - _LEFT), 1)

    def up(count: float) -> float:
        return round(bottom - count / vms * (bottom - _TOP), 1)

    path = "".join(
        f"H{x:g}V{y:g}" for x, y in _steps((across(second), up(count)) for count, second in enumerate(ready, 1))
    )
    curve = f"M{_LEFT} {bottom}{path}H{across(span[1]):g}"
    return Chart(
        size=size,
        width=width,
        height=height,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        across=[Tick(across(value), f"{value:,g}".replace("-", "\u2212")) for value in _ticks(*span, width // 90)],
        up=[Tick(up(value), f"{value:,g}") for value in _ticks(0, vms, 4) if value == int(value)],
        curve=curve,
        area=f"{curve}V{bottom}Z",
        start=None if start is None else across(start),
    )


def _steps(points: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the points without those that the next one stands on: at most one per unit of width."""
    last: tuple[float, float] | None = None
    for point in points:
        if last is not None and round(point[0]) != round(last[0]):
            yield last
        last = point
    if last is not None:
        yield last


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``most`` of them."""
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step)
    return [round(number * step, 9) + 0.0 for number in range(first, math.floor(high / step) + 1)]
