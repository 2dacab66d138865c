"""``vmr export``: a run in the formats of other programs; ``vmr import cloudevents``: events back from one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vmr.cli.context import run, settings_of
from vmr.cli.output import print_note
from vmr.cli.steps import progress
from vmr.exports import FORMATS
from vmr.subjects import check_database

import_app = typer.Typer(no_args_is_help=True, help="Take what was exported into a database.", rich_markup_mode=None)
_FORMATS = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())


def export(
    context: typer.Context,
    form: Annotated[str, typer.Argument(metavar="FORMAT", help=f"{_FORMATS}.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File or folder to write.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="A run's number, its experiment's name, an archive, or a read model's file (FILE#2: run 2 of it); "
            "without it, the current run.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write a run of the record in a format of other programs: perfetto, cloudevents, parquet, duckdb or openmetrics."""
    from vmr.exports.of_run import export_run  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    with progress(form) as shown:
        said = export_run(form, source, settings_of(context), output, force=force, tell=shown.tell)
    print_note(f"{said} in {output}")


@import_app.command("cloudevents")
def import_cloudevents(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="What `vmr export cloudevents` wrote.", metavar="FILE", exists=True, dir_okay=False)
    ],
    db: Annotated[
        str | None, typer.Option("--db", metavar="NAME", help="Database to make; by default the one of vmr --db.")
    ] = None,
) -> None:
    """Record events that were exported as CloudEvents, byte for byte, in an empty database of their own."""
    from vmr.exports.importing import import_events  # noqa: PLC0415 - as above

    settings = settings_of(context)
    if db is not None:
        settings = msgspec.structs.replace(settings, db=check_database(db))
    with progress("import") as shown:
        count = run(import_events(settings, file, tell=shown.tell))
    print_note(f"{count:,} events are in database {settings.db}")
