"""What all benchmarks share: a row with its baseline and goal, repetition and medians, a server and a log to measure on."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from vmr.log import AsyncLog
from vmr.server import EmbeddedServer
from vmr.settings import Settings

Better = Literal["more", "less"]


class Options:
    """What the command line says.

    Attributes:
        events: length of the longest history that is measured.

    """

    events = 10_000_000


options = Options()


class Goal(msgspec.Struct, frozen=True):
    """What a row is held against.

    Attributes:
        value: the bound of the value itself, in the row's unit; a slower machine may miss it.
        ratio: the least ratio to the baseline; it counts on any machine.
        better: whether more or less of the unit is better.

    """

    value: float | None = None
    ratio: float | None = None
    better: Better = "more"


class Row(msgspec.Struct, frozen=True):
    """One measured figure. ``ratio`` > 1 means better than the baseline; ``spread`` is (max - min) / median."""

    bench: str
    metric: str
    value: float
    unit: str
    baseline: float | None
    baseline_name: str | None
    ratio: float | None
    n: int
    spread: float
    goal: Goal = msgspec.field(default_factory=Goal)

    @property
    def value_met(self) -> bool | None:
        """Whether the goal in absolute figures is met; None when there is none."""
        if self.goal.value is None:
            return None
        return self.value >= self.goal.value if self.goal.better == "more" else self.value <= self.goal.value

    @property
    def met(self) -> bool | None:
        """Whether the goal that counts on any machine is met: that of the ratio, else that of the value; None without goals."""
        if self.goal.ratio is not None:
            return self.ratio is not None and self.ratio >= self.goal.ratio
        return self.value_met

    def as_json(self) -> dict[str, object]:
        """Return what `--json` prints of this row."""
        return {key: value for key, value in msgspec.to_builtins(self).items() if key != "goal"}


def row(
    bench: str,
    metric: str,
    unit: str,
    values: list[float],
    *,
    goal: Goal | None = None,
    baseline: list[float] | None = None,
    baseline_name: str | None = None,
) -> Row:
    """Return the row of ``values`` (one per repetition): medians, the ratio of the medians, the spread."""
    goal = goal or Goal()
    value = statistics.median(values)
    base = statistics.median(baseline) if baseline else None
    ratio = None
    if base:
        ratio = value / base if goal.better == "more" else base / value
    spread = (max(values) - min(values)) / value if value else 0.0
    return Row(bench, metric, value, unit, base, baseline_name, ratio, len(values), spread, goal)


async def repeat(times: int, *measures: Callable[[], Awaitable[float]]) -> list[list[float]]:
    """Return ``times`` values of each measure, taken in turns so that a disturbance hits all of them alike."""
    values: list[list[float]] = [[] for _ in measures]
    for _ in range(times):
        for found, measure in zip(values, measures, strict=True):
            found.append(await measure())
    return values


def percentile(values: list[float], percent: float) -> float:
    """Return the value below which ``percent`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@asynccontextmanager
async def fresh_log(db: str = "bench") -> AsyncIterator[AsyncLog]:
    """Yield an empty log on an embedded server of its own, as durable as the real one."""
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as home:
        settings = Settings(home=Path(home), db=db)
        server = EmbeddedServer(settings.server_dir)
        await server.start(die_with_parent=True)
        try:
            async with await AsyncLog.connect(settings, producer="bench") as log:
                yield log
        finally:
            await server.stop()
