"""``vmr sql``: questions to the read model, in SQL."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from vmr.cli.context import run, settings_of
from vmr.cli.output import pick_format, print_note, print_rows
from vmr.errors import ServerNotFoundError
from vmr.log import connect_async
from vmr.query import Answer
from vmr.settings import Settings

SECONDS: Final = 60.0


def sql(
    context: typer.Context,
    statement: Annotated[
        str,
        typer.Argument(
            help="One SELECT, DESCRIBE, SHOW or EXPLAIN statement of DuckDB; - reads it from standard input."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
) -> None:
    """Ask the read model in SQL. `SHOW TABLES` says what there is."""
    form = pick_format(as_json=as_json, as_csv=as_csv)
    text = sys.stdin.read() if statement == "-" else statement
    answer = run(_ask(settings_of(context), text))
    print_rows(answer.columns, answer.rows, form)
    if answer.truncated:
        print_note(f"only the first {len(answer.rows):,} rows; add a LIMIT or a WHERE")


async def _ask(settings: Settings, text: str) -> Answer:
    try:
        async with connect_async(settings=settings, create=False) as log:
            return await log.query("sql", {"sql": text}, after=await log.last_sequence(), timeout=SECONDS)
    except ServerNotFoundError:
        answer = _ask_offline(settings, text)
        if answer is None:
            raise
        print_note(f"no server runs; this is the record up to sequence {answer.sequence:,}")
        return answer


def _ask_offline(settings: Settings, text: str) -> Answer | None:
    """Return the answer from the embedded server's read model on disk; None when there is none or the server is another's."""
    from vmr import sql_guard, sql_service  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    path = settings.database_dir / sql_service.READ_MODEL
    if not settings.embedded or not path.is_file():
        return None
    with sql_guard.open_offline(path) as reader:
        return reader.sql(text, timeout=SECONDS)
