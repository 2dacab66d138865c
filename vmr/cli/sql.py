"""``vmr sql``: questions to the read model, in SQL."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vmr.cli.asked import AsOfOption, ParquetOption, answer_of, pick_output, print_answer
from vmr.cli.context import run, settings_of


def sql(
    context: typer.Context,
    statement: Annotated[
        str,
        typer.Argument(
            help="One SELECT, DESCRIBE, SHOW or EXPLAIN statement of DuckDB; - reads it from standard input."
        ),
    ],
    as_of: AsOfOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    parquet: ParquetOption = None,
) -> None:
    """Ask the read model in SQL. `SHOW TABLES` says what there is."""
    form = pick_output(as_json=as_json, as_csv=as_csv, parquet=parquet)
    text = sys.stdin.read() if statement == "-" else statement
    print_answer(run(answer_of(settings_of(context), "sql", {"sql": text}, as_of)), form, parquet)
