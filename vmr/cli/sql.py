"""``vmr sql``: questions to the read model, in SQL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vmr.cli.asked import AsOfOption, ParquetOption, answer_of, pick_output, print_answer
from vmr.cli.context import run, settings_of
from vmr.cli.output import Format, print_note
from vmr.errors import InvalidInputError, ServerNotFoundError
from vmr.log import connect_async
from vmr.settings import Settings


def sql(
    context: typer.Context,
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT, DESCRIBE, SHOW or EXPLAIN statement of DuckDB; - reads it from standard input."
        ),
    ] = None,
    as_of: AsOfOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    parquet: ParquetOption = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a statement: copy the whole read model to a new DuckDB file.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Ask the read model in SQL. `SHOW TABLES` says what there is."""
    form = pick_output(as_json=as_json, as_csv=as_csv, parquet=parquet)
    settings = settings_of(context)
    if (statement is None) == (snapshot is None):
        raise InvalidInputError('give a statement, such as vmr sql "SHOW TABLES", or --snapshot FILE, and not both')
    if snapshot is not None:
        if as_of is not None or parquet is not None or form is not Format.TABLE:
            raise InvalidInputError("--snapshot copies the read model as it is now, and goes with no other option")
        print_note(f"the record up to sequence {run(_snapshot(settings, snapshot)):,} is in {snapshot}")
        return
    text = sys.stdin.read() if statement == "-" else statement
    print_answer(run(answer_of(settings, "sql", {"sql": text}, as_of)), form, parquet)


async def _snapshot(settings: Settings, path: Path) -> int:
    """Write the snapshot from the log, or from the record on disk when no server runs; return its sequence."""
    from vmr import snapshot, sql_service  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    try:
        async with connect_async(settings=settings, create=False) as log:
            return await snapshot.from_log(log, path)
    except ServerNotFoundError:
        record = settings.database_dir / sql_service.READ_MODEL
        if not settings.embedded or not record.is_file():
            raise
        return snapshot.from_file(record, path)
