"""``vmr blame``: where the time of a run went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmr.cli.compare import number_table
from vmr.cli.context import settings_of
from vmr.cli.output import console, json_line, print_note
from vmr.cli.steps import progress

if TYPE_CHECKING:
    from vmr.blame import Blame, VmTime

MOST_ROWS: Final = 20
_KINDS: Final = 6
"""A table of VMs has columns for so many kinds of time, those that took most."""


def blame(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run: its number, its experiment's name, or a file: an archive, or a read model (FILE#RUN). The current one when left out.",
        ),
    ] = None,
    vm: Annotated[
        str | None, typer.Option("--vm", metavar="NAME", help="Show this VM's path to the start, not that of the last.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many entries, executions and VMs.")] = MOST_ROWS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything.")] = False,
) -> None:
    """Say where the time went: what the start waited for, the slowest entries, and what every VM's time went into."""
    from vmr.blame import MOST_EXECUTIONS  # noqa: PLC0415 - DuckDB takes long to load
    from vmr.blame import blame as work_out  # noqa: PLC0415 - DuckDB takes long to load
    from vmr.record import open_run  # noqa: PLC0415 - DuckDB takes long to load

    name = source or "the current run"
    with progress(f"reading {name}") as shown, open_run(source, settings_of(context), tell=shown.tell) as path:
        found = work_out(path, vm, executions=max(limit, MOST_EXECUTIONS), say=shown.say)
    if as_json:
        typer.echo(json_line(found), nl=False)
    else:
        print_blame(found, limit)


def print_blame(found: Blame, limit: int) -> None:
    """Print where the time went as tables, with at most ``limit`` rows in those that can be long."""
    _print_path(found)
    _print_totals(found)
    rows = [
        (
            row["entry"],
            row["executions"],
            row["vms"],
            *(_seconds(row[key]) for key in ("seconds", "median", "most")),
            row["most_of"],
        )
        for row in found.entries
    ]
    _print(
        ("entry", "executions", "VMs", "seconds", "median", "most", "of"), rows, "slowest entries, over all VMs", limit
    )
    rows = [
        (row["vm"], row["entry"], row["attempt"], _seconds(row["seconds"]), _seconds(row["from_second"]))
        for row in found.executions
    ]
    _print(("VM", "entry", "attempt", "seconds", "from second"), rows, "slowest executions", limit)
    _print_vms(found, limit)


def _print_path(found: Blame) -> None:
    rows = [
        (
            _seconds(row["from_second"]),
            _seconds(row["seconds"]),
            row["title"],
            row["entry"] or "",
            _attempt(row["attempt"]),
        )
        for row in found.critical_path
    ]
    total = _seconds(found.run["seconds_before"])
    end = "to the start" if found.run["start"] else "so far; the start is not known"
    title = f"critical path: {found.vm}, {total} s {end}"
    console().print(number_table(("from second", "seconds", "", "entry", "attempt"), rows, title))


def _attempt(number: int | None) -> str:
    return "" if number is None else str(number)


def _print_totals(found: Blame) -> None:
    for phase in ("before the start", "after the start"):
        rows = [
            (
                row["title"],
                _seconds(row["seconds"]),
                f"{row['share']:.1%}",
                row["vms"],
                _seconds(row["median"]),
                _seconds(row["most"]),
                row["most_of"],
            )
            for row in found.totals
            if row["phase"] == phase
        ]
        if rows:
            columns = ("", "seconds of all VMs", "share", "VMs", "median", "most", "of")
            console().print(number_table(columns, rows, f"all VMs, {phase}"))


def _print_vms(found: Blame, limit: int) -> None:
    """Print a row for each VM, with the kinds that took most over all VMs as columns."""
    kinds = [row["kind"] for row in found.totals if row["phase"] == "before the start"]
    shown, rest = kinds[:_KINDS], kinds[_KINDS:]
    columns = ("VM", "ready after", *(found.kinds[kind] for kind in shown), *(("all else",) if rest else ()))
    rows = [_vm(time, shown, rest) for time in found.vms]
    _print(columns, rows, "VMs before the start, the last to be ready first; seconds", limit)


def _vm(time: VmTime, shown: list[str], rest: list[str]) -> tuple[str, ...]:
    ready = "never" if time.ready_after is None else _seconds(time.ready_after)
    others = (_seconds(sum(time.before.get(kind, 0.0) for kind in rest)),) if rest else ()
    return (time.vm, ready, *(_seconds(time.before.get(kind, 0.0)) for kind in shown), *others)


def _print(
    columns: tuple[str, ...], rows: list[tuple[object, ...]] | list[tuple[str, ...]], title: str, limit: int
) -> None:
    if rows[:limit]:
        console().print(number_table(columns, rows[:limit], title))
    if len(rows) > limit:
        print_note(f"{title}: {limit:,} of {len(rows):,} are shown; --limit shows more, --json has more, too")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.3f}"
