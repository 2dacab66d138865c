"""The words and numbers at the top of a report: what ran, when, how it ended, and what the barrier waited for."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
import msgspec

from vmr.answers import Select, read
from vmr.projections import bind, load_questions
from vmr.report.answers import Table, cells
from vmr.report.chart import Chart, charts
from vmr.report.record import Run
from vmr.report.text import clipped, one_line
from vmr.report.timeline import OUTCOMES, PROBLEMS, Timeline
from vmr.report.times import length, moment, second, utc

_LONGEST = 200


class Tile(msgspec.Struct, frozen=True):
    """How many executions had an outcome."""

    key: str
    words: str
    count: int


class Barrier(msgspec.Struct, frozen=True):
    """What the barrier waited for: in words, as a curve, and the last VMs as a table."""

    text: str
    charts: list[Chart]
    table: Table


def title_of(run: Run) -> str:
    """Return the experiment's name."""
    return clipped(one_line(run.name), _LONGEST) if run.name else f"Run {run.run}"


def subtitle_of(run: Run, timeline: Timeline) -> str:
    """Return run, day and size."""
    day = utc(run.begun if run.start is None else run.start)
    return f"Run {run.run} · {day} · {_many(run.vms, 'VM')} · {_many(timeline.entries, 'entry', 'entries')}"


def tiles_of(timeline: Timeline) -> list[Tile]:
    """Return the outcomes that there can be; those that are rare only where there are some."""
    usual = {"done", "exit_code", "not_launched", "lost"}
    return [
        Tile(key, words, timeline.counts[key])
        for key, words in OUTCOMES.items()
        if timeline.counts[key] or key in usual
    ]


def lead_of(run: Run, timeline: Timeline) -> str:
    """Return one sentence that says how it went."""
    executions, wrong = len(timeline.attempts), sum(timeline.counts[key] for key in PROBLEMS)
    begun = "It never started" if run.start is None else f"It started at {utc(run.start)}"
    said = f"{begun}. {_many(executions, 'execution')} of {_many(timeline.entries, 'entry', 'entries')} on {_many(run.vms, 'VM')}: "
    if not wrong:
        return f"{said}none went wrong."
    return f"{said}{wrong:,} went wrong."


def facts_of(run: Run, timeline: Timeline) -> list[tuple[str, str, str]]:
    """Return what is known of the run: name, value, and what stands below it."""
    facts = [
        ("Experiment", title_of(run), f"run {run.run}" + (f", guests: {one_line(run.guests)}" if run.guests else ""))
    ]
    moments = {"Launched": run.launched, "First VM added": run.first_added, "Start": run.start, "Ended": run.ended}
    facts += [(name, utc(at), second(at, run.zero)) for name, at in moments.items() if at is not None]
    if run.end_reason:
        facts.append(("Why it ended", clipped(one_line(run.end_reason), _LONGEST), ""))
    duration = (run.ended or run.last_event) - run.zero
    facts.append(("From start to end" if run.start is not None else "Duration", length(duration), ""))
    facts.append(("VMs", f"{run.vms:,}", f"{run.ready:,} ready or waived, {run.failed:,} failed"))
    facts.append(("Entries", f"{timeline.entries:,}", _many(len(timeline.attempts), "execution")))
    return [*facts, ("Events", f"{run.events:,}", f"sequences {run.first_seq:,} to {run.last_seq:,}")]


def barrier_of(connection: duckdb.DuckDBPyConnection, run: Run, rows: int) -> Barrier:
    """Return the barrier by the question ``barrier_holders``, with ``rows`` rows of it; raise `QueryError` when it has no answer."""
    query = load_questions()["barrier_holders"]
    answer = read(connection, Select(query.sql), bind(query, {}))
    place, outcome = answer.columns.index("since"), answer.columns.index("outcome")
    ready: list[int] = []
    for row in answer.rows:
        with contextlib.suppress(ValueError):
            ready += [moment(row[place])] if row[place] is not None else []
    first = min([*ready, run.zero if run.first_added is None else run.first_added])
    seconds = [(at - run.zero) / 1e6 for at in ready]
    start = None if run.start is None else 0.0
    outcomes = [row[outcome] for row in answer.rows]
    shown = msgspec.structs.replace(answer, rows=answer.rows[:rows])
    return Barrier(
        _barrier_text(run, ready, first, outcomes),
        charts(seconds, (first - run.zero) / 1e6, start, max(len(answer.rows), 1)),
        Table(answer.columns, list(cells(shown, run.zero)), len(answer.rows)),
    )


def _barrier_text(run: Run, ready: list[int], first: int, outcomes: list[Any]) -> str:
    if not ready:
        return "No VM was ready." if outcomes else "There was no VM to wait for."
    said = f"From the first VM added to the last one ready it took {length(max(ready) - first)}; "
    said += f"the first was ready after {length(min(ready) - first)}. "
    if run.start is not None:
        said += f"The start was {length(abs(run.start - max(ready)))} {'after' if run.start >= max(ready) else 'before'} the last. "
    waived, missing = outcomes.count("waived"), outcomes.count("missing")
    if waived or missing:
        said += f"{_many(waived, 'VM')} waived, {missing:,} never ready."
    return said


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
