"""What is asked of a comparison, and what comes of it."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Row: TypeAlias = dict[str, Any]
"""One row of an answer: values by name of the column."""


class Tolerances(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where two runs count as alike.

    Attributes:
        ignore: entries whose id one of these patterns (``*``, ``?``, ``[…]``) matches are left out.
        ignore_output: do not compare what programs wrote.
        duration_ratio: an execution may last so many times as long, or as short; None: durations are shown and not judged.
        duration_seconds: differences in duration up to so many seconds are alike, whatever their ratio.
        lateness_seconds: lateness may differ by so many seconds; None: it is shown and not judged.
        barrier_order: whether the VMs have to become ready in the same order.

    """

    ignore: tuple[str, ...] = ()
    ignore_output: bool = False
    duration_ratio: float | None = None
    duration_seconds: float = 1.0
    lateness_seconds: float | None = None
    barrier_order: bool = False


class Side(msgspec.Struct, frozen=True):
    """One of the two runs.

    Attributes:
        source: what the caller called it.
        run: the run's name, times (UTC) and numbers of events, VMs and attempts, as ``projections/compare/side_run.sql`` has them.

    """

    source: str
    run: Row


class Check(msgspec.Struct, frozen=True):
    """One thing that was compared.

    Attributes:
        name: of the list of `Comparison` in which the differences are.
        title: what it is, in words.
        found: how many differences there are; None where it was not compared.
        judged: whether one of them makes the runs differ.
        tolerance: what counts as alike, in words.

    """

    name: str
    title: str
    found: int | None
    judged: bool
    tolerance: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs, compared.

    Attributes:
        differs: whether they differ beyond the tolerances.
        a: the one run.
        b: the other.
        tolerances: what was asked.
        checks: what was compared, with how many differences.
        matched: how many executions both runs have.
        differences: the differences, by the names of the checks.
        distributions: of durations and lateness, in each run and from one to the other; seconds.
        histograms: the same in ranges.
        by_entry: medians of each entry over all VMs; seconds.
        barrier: who was ready first and last, and how alike the orders are.

    """

    differs: bool
    a: Side
    b: Side
    tolerances: Tolerances
    checks: list[Check]
    matched: int
    differences: dict[str, list[Row]]
    distributions: list[Row]
    histograms: list[Row]
    by_entry: list[Row]
    barrier: Row
