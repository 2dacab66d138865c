"""Which columns the lists of a comparison have, on a terminal and on a page, and how their values are written."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

Form: TypeAlias = Literal["", "count", "seconds", "ratio", "side", "time", "line"]
"""How a value is written: as it is, as a number of this kind, as A or B, as a time, or as a line of output."""
Column: TypeAlias = tuple[str, str, Form]
"""Title, name in the row, form."""

_WHO: Final[tuple[Column, ...]] = (("VM", "vm", ""), ("entry", "entry", ""), ("attempt", "nth", "count"))

COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "vms_only_in_one": (("only in", "run", "side"), ("VM", "vm", ""), ("executions", "executions", "count")),
    "entries_only_in_one": (
        ("only in", "run", "side"),
        *_WHO,
        ("status", "status", ""),
        ("exit code", "exit_code", ""),
        ("in the other's schedule", "planned_in_other", ""),
    ),
    "ended_differently": (
        *_WHO,
        ("status A", "status_a", ""),
        ("status B", "status_b", ""),
        ("exit code A", "exit_a", ""),
        ("exit code B", "exit_b", ""),
        ("timed out A", "timed_out_a", ""),
        ("timed out B", "timed_out_b", ""),
    ),
    "output_differs": (
        *_WHO,
        ("stream", "stream", ""),
        ("line", "line", "count"),
        ("A", "a", "line"),
        ("B", "b", "line"),
    ),
    "durations_differ": (
        *_WHO,
        ("seconds A", "duration_a", "seconds"),
        ("seconds B", "duration_b", "seconds"),
        ("B / A", "ratio", "ratio"),
    ),
    "lateness_differs": (
        *_WHO,
        ("late A", "lateness_a", "seconds"),
        ("late B", "lateness_b", "seconds"),
        ("B - A", "difference", "seconds"),
    ),
    "barrier_order": (
        ("VM", "vm", ""),
        ("place A", "place_a", "count"),
        ("place B", "place_b", "count"),
        ("ready A", "ready_after_a", "seconds"),
        ("ready B", "ready_after_b", "seconds"),
    ),
}
"""The columns of each list of differences, by its name."""

BY_ENTRY: Final[tuple[Column, ...]] = (
    ("entry", "entry", ""),
    ("executions", "executions", "count"),
    ("median A", "median_a", "seconds"),
    ("median B", "median_b", "seconds"),
    ("B / A", "ratio", "ratio"),
    ("most A", "most_a", "seconds"),
    ("most B", "most_b", "seconds"),
    ("late A", "late_a", "seconds"),
    ("late B", "late_b", "seconds"),
)
"""The columns of the entries over all VMs; `late` is the median."""

FACTS: Final[tuple[Column, ...]] = (
    ("run", "run", ""),
    ("experiment", "name", ""),
    ("guests", "guests", ""),
    ("begun", "begun", "time"),
    ("started", "start_time", "time"),
    ("seconds to the start", "seconds_to_start", "seconds"),
    ("seconds in all", "seconds", "seconds"),
    ("end", "end_reason", ""),
    ("VMs", "vms", "count"),
    ("executions started", "attempts", "count"),
    ("events", "events", "count"),
)
"""What is shown of each run."""


def text(value: Any, form: Form = "") -> str:
    """Return ``value`` as people read it; nothing for None, which for a line of output means that there is none."""
    if value is None:
        return "(has ended)" if form == "line" else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if form == "count":
        return f"{value:,}"
    if form == "ratio":
        return f"{value:.3g}"
    if form == "seconds":
        return f"{round(value, 3) + 0.0:,.3f}"  # no "-0.000"
    if form == "side":
        return str(value).upper()
    if form == "time":
        return f"{str(value)[:19].replace('T', ' ')} UTC"
    return str(value)
