"""``vmr compare``: two runs side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from vmr.cli.context import settings_of
from vmr.cli.output import console, json_line, print_note, print_rows, table, visible
from vmr.cli.steps import progress
from vmr.errors import InvalidInputError, VmrError

if TYPE_CHECKING:
    from vmr.comparison import Comparison, Tolerances
    from vmr.comparison.columns import Form
    from vmr.settings import Settings

EXIT_DIFFERS: Final = 1
MOST_ROWS: Final = 20
_NUMBER: Final = re.compile(r"-?[0-9][0-9.,]*(e[-+][0-9]+)?%?|-?|never")

RunArgument = Annotated[
    str,
    typer.Argument(help="A run: its number, its experiment's name, or a file: an archive, or a read model (FILE#RUN)."),
]


def compare(
    context: typer.Context,
    a: RunArgument,
    b: RunArgument,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTRY", help="Leave out entries with this id; * and ? match any. May be repeated."),
    ] = None,
    ignore_output: Annotated[bool, typer.Option(help="Do not compare what programs wrote.")] = False,
    duration_ratio: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Executions may last R times as long, or as short; else durations are not judged."
        ),
    ] = None,
    duration_seconds: Annotated[
        float, typer.Option(metavar="S", help="With --duration-ratio: differences up to S seconds are alike anyway.")
    ] = 1.0,
    lateness_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Lateness may differ by S seconds; without it lateness is not judged."),
    ] = None,
    barrier_order: Annotated[bool, typer.Option(help="The VMs have to become ready in the same order.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show so many differences of each kind.")] = MOST_ROWS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page for a browser, too.", dir_okay=False)
    ] = None,
) -> None:
    """Compare two runs: executions only in one, exit codes, output, durations, lateness, the barrier's order.

    Exit code: 0 when they are alike within the tolerances, 1 when they differ, 2 when they could not be compared.
    """
    import duckdb  # noqa: PLC0415 - it takes long to load, and other commands do without

    from vmr.comparison import Tolerances, write_page  # noqa: PLC0415 - DuckDB takes long to load

    _check(duration_ratio, duration_seconds, lateness_seconds)
    tolerances = Tolerances(
        ignore=tuple(ignore or ()),
        ignore_output=ignore_output,
        duration_ratio=duration_ratio,
        duration_seconds=duration_seconds,
        lateness_seconds=lateness_seconds,
        barrier_order=barrier_order,
    )
    try:
        found = _compare(settings_of(context), a, b, tolerances)
        if html is not None:
            write_page(found, html)
    except InvalidInputError:
        raise
    except (VmrError, OSError, MemoryError, duckdb.Error) as error:
        # 1 says that the runs differ, and nothing else does: a full disk is no difference.
        raise InvalidInputError(f"{a} and {b} cannot be compared: {error}") from error
    if as_json:
        typer.echo(json_line(found), nl=False)
    else:
        print_comparison(found, limit)
    if html is not None:
        print_note(f"the page is in {html}")
    if found.differs:
        raise typer.Exit(EXIT_DIFFERS)


def _check(ratio: float | None, *seconds: float | None) -> None:
    if ratio is not None and not (math.isfinite(ratio) and ratio >= 1):
        raise InvalidInputError(f"--duration-ratio {ratio:g}: give a number from 1 on, such as 1.5")
    for each in seconds:
        if each is not None and not (math.isfinite(each) and each >= 0):
            raise InvalidInputError(f"{each:g} seconds: give a number from 0 on, such as 0.5")


def _compare(settings: Settings, a: str, b: str, tolerances: Tolerances) -> Comparison:
    from vmr import comparison, record  # noqa: PLC0415 - DuckDB takes long to load

    with progress(f"reading {a}") as shown, record.open_run(a, settings, tell=shown.tell) as first:
        shown.say(f"reading {b}")
        with record.open_run(b, settings, tell=shown.tell) as second:
            return comparison.compare((a, first), (b, second), tolerances, say=shown.say)


def number_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> Table:
    """Return a table in which columns of numbers, which are written as text here, stand to the right."""
    result = table(columns, rows, title=None if title is None else visible(title))
    for place, column in enumerate(result.columns):
        if rows and all(_NUMBER.fullmatch(str(row[place])) for row in rows):
            column.justify = "right"
    return result


def print_comparison(found: Comparison, limit: int) -> None:
    """Print a comparison as tables, with at most ``limit`` differences of each kind."""
    from vmr.comparison.columns import FACTS, text  # noqa: PLC0415 - its package loads DuckDB

    facts = [(title, text(found.a.run[key], form), text(found.b.run[key], form)) for title, key, form in FACTS]
    print_rows(("", f"A: {found.a.source}", f"B: {found.b.source}"), facts)
    _print_distributions(found)
    _print_entries(found, limit)
    for check in found.checks:
        if check.found:
            _print_differences(found, check.name, check.title, limit)
    _print_checks(found)


def _print_distributions(found: Comparison) -> None:
    from vmr.comparison.columns import text  # noqa: PLC0415 - its package loads DuckDB

    if not found.distributions:
        return
    parts = ("total", "least", "median", "p90", "p99", "most")
    rows = []
    for row in found.distributions:
        form: Form = "ratio" if row["of"] == "b / a" else "seconds"
        count = text(row["executions"], "count")
        rows.append((row["measure"], row["of"].upper(), count, *(text(row[part], form) for part in parts)))
    columns = ("seconds", "", "executions", "total", "least", "median", "90 %", "99 %", "most")
    console().print(number_table(columns, rows))


def _print_entries(found: Comparison, limit: int) -> None:
    from vmr.comparison.columns import BY_ENTRY, text  # noqa: PLC0415 - its package loads DuckDB

    if rows := found.by_entry[:limit]:
        shown = [tuple(text(row[key], form) for _, key, form in BY_ENTRY) for row in rows]
        title = "entries over all VMs, in seconds, those whose median changed most first"
        console().print(number_table([column[0] for column in BY_ENTRY], shown, title))
    if len(found.by_entry) > limit:
        print_note(
            f"entries: {limit:,} of {len(found.by_entry):,} are shown; --limit shows more, --json has all of them"
        )


def _print_differences(found: Comparison, name: str, title: str, limit: int) -> None:
    from vmr.comparison.columns import COLUMNS, text  # noqa: PLC0415 - its package loads DuckDB

    rows, columns = found.differences[name], COLUMNS[name]
    if rows[:limit]:
        shown = [tuple(text(row[key], form) for _, key, form in columns) for row in rows[:limit]]
        console().print(number_table([column[0] for column in columns], shown, f"{title}: {len(rows):,}"))
    if len(rows) > limit:
        print_note(f"{title}: {limit:,} of {len(rows):,} are shown; --limit shows more, --json has all of them")


def _print_checks(found: Comparison) -> None:
    rows = []
    for check in found.checks:
        count = "-" if check.found is None else f"{check.found:,}"
        judged = "not asked for" if check.found is None else "shown only" if not check.judged else check.tolerance
        verdict = "-" if not check.judged else "differs" if check.found else "alike"
        rows.append((check.title, count, judged, verdict))
    console().print(number_table(("compared", "differences", "alike up to", ""), rows))
    if found.barrier["vms"]:
        last = [
            f"{visible(found.barrier[f'last_{side}'])} after {found.barrier[f'last_ready_{side}']:,.3f} s"
            for side in "ab"
        ]
        typer.echo(f"ready last: {last[0]} in A, {last[1]} in B")
    typer.echo(f"{found.matched:,} executions are in both; the runs {'differ' if found.differs else 'are alike'}")
