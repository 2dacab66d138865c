"""A benchmark's row: medians, the direction of its ratio, the format that other tools read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "ops" / "benchmarks"


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    """Return ``ops/benchmarks/harness.py`` as a module."""
    spec = importlib.util.spec_from_file_location("benchmark_harness", BENCHMARKS / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_rate_is_better_when_it_is_more(harness: ModuleType) -> None:
    """The ratio is value over baseline; the spread is relative to the median."""
    row = harness.row("b", "m", "1/s", [90.0, 100.0, 130.0], baseline=[10.0, 20.0], baseline_name="raw")
    assert row.as_json() == {
        "bench": "b",
        "metric": "m",
        "value": 100.0,
        "unit": "1/s",
        "baseline": 15.0,
        "baseline_name": "raw",
        "ratio": pytest.approx(100 / 15),
        "n": 3,
        "spread": pytest.approx(0.4),
    }


def test_a_latency_is_better_when_it_is_less(harness: ModuleType) -> None:
    """The ratio is baseline over value, so that more than 1 always means better."""
    goal = harness.Goal(value=3, better="less")
    row = harness.row("b", "m", "ms", [2.0], goal=goal, baseline=[4.0], baseline_name="raw")
    assert row.ratio == 2.0
    assert row.met is True


@pytest.mark.parametrize(
    ("value", "ratio", "met", "value_met"), [(200, 5, True, False), (50, 20, False, True), (50, None, True, True)]
)
def test_a_ratio_goal_counts_before_a_value_goal(
    harness: ModuleType,
    value: float,
    ratio: float | None,
    *,
    met: bool,
    value_met: bool,
) -> None:
    """A slower machine misses figures; the ratio must hold anywhere."""
    row = harness.row("b", "m", "1/s", [100.0], goal=harness.Goal(value=value, ratio=ratio), baseline=[10.0])
    assert (row.met, row.value_met) == (met, value_met)


def test_percentiles(harness: ModuleType) -> None:
    """Of 1..100 the 50th percentile is in the middle, and the 99th near the end; order does not matter."""
    values = [float(n) for n in range(100, 0, -1)]
    assert harness.percentile(values, 50) == 51
    assert harness.percentile(values, 99) == 100
    assert harness.percentile([7.0], 99) == 7


def test_an_unknown_family_is_named() -> None:
    """The command says which families there are."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "unknown: nonsense; there are:" in done.stderr
    assert "publish" in done.stderr
