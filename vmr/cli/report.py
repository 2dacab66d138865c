"""``vmr report``: a run as one HTML file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from vmr import new_files
from vmr.cli.context import settings_of
from vmr.cli.output import print_note


def report(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A run: its number or its experiment's name, or the file of a record or archive (FILE, or FILE#2 for run 2 of it); by default the current run.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.", dir_okay=False)
    ] = Path("report.html"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it is there already.")] = False,
    output_bytes: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="BYTES",
            help="How much of the beginning, and of the end, of each execution's output is in it.",
        ),
    ] = 1024,
    rows: Annotated[int, typer.Option(min=1, help="How many rows of each question's answer are in it.")] = 20,
) -> None:
    """Write a report of a run: one HTML file with everything in it, to read without vmr, server or network."""
    from vmr.record import open_run  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without
    from vmr.report import write_report  # noqa: PLC0415

    new_files.check(output, force=force)
    with _progress() as tell, open_run(source, settings_of(context), tell=_counted(tell)) as record:
        size = write_report(record, output, overwrite=force, output_bytes=output_bytes, rows=rows, tell=tell)
    print_note(f"the report is in {output} ({size:,} bytes)")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yield what shows on a terminal, on standard error, what is being done."""
    console = Console(stderr=True, highlight=False)
    with console.status("opening the record") as status:
        yield lambda text: status.update(escape(text))


def _counted(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    return lambda done, of: tell(f"reading events: {done:,} of {of:,}")
