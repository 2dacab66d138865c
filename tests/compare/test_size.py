"""Runs of the size that people have: 3,003 VMs, 17,017 executions each."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.compare.stories import Story, program
from vmr.blame import blame
from vmr.comparison import Tolerances, compare, write_page

VMS = 3003
SIX = 2002
SECONDS = 20.0
"""A fraction of it is needed where nothing else runs."""


def told(identity: str, seed: int) -> Story:
    """Return a run in which every VM runs five or six programs, of which those of positive time write a line."""
    dice = random.Random(seed)
    story = Story(identity)
    for number in range(VMS):
        vm = f"host-{number}.net"
        times = (5, 10, 20, 30)[: 4 if number < SIX else 3]
        entries = [program(-20, "net"), program(-10, "install"), *(program(each, "work") for each in times)]
        story.added(vm, *entries, at=-200 + number * 0.01, ready=-40 + dice.random() * 10)
        story.ran(vm, "-20/net", -150, dice.random())
        story.ran(vm, "-10/install", -120, dice.random() * 30)
        for each in times:
            seconds = dice.lognormvariate(0, 1)
            story.ran(vm, f"{each}/work", each, seconds, late=dice.random() * 0.05)
            story.wrote(vm, f"{each}/work", each + seconds / 2, b'{"time": %f}\n' % seconds)
    story.started(-29)
    return story


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the read models of two such runs."""
    folder = tmp_path_factory.mktemp("large")
    return told("a", 1).read_model(folder / "a.duckdb"), told("b", 2).read_model(folder / "b.duckdb")


def test_comparison_takes_seconds(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """All of it is compared in seconds, though every output differs; the page stays a page."""
    begun = time.monotonic()
    found = compare(("A", runs[0]), ("B", runs[1]), Tolerances(duration_ratio=3.0))
    write_page(found, tmp_path / "page.html")
    assert time.monotonic() - begun < SECONDS
    assert found.matched == 17_017
    assert len(found.differences["output_differs"]) == 17_017 - 2 * VMS
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_blame_takes_seconds(runs: tuple[Path, Path]) -> None:
    """All VMs are accounted for in seconds."""
    begun = time.monotonic()
    found = blame(runs[0])
    assert time.monotonic() - begun < SECONDS
    assert len(found.vms) == VMS
    assert found.entries[0]["entry"] == "-10/install"
    assert sum(row["share"] for row in found.totals if row["phase"] == "before the start") == pytest.approx(1)
