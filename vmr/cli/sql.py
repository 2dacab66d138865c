"""``vmr sql``: questions to the read model, in SQL."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from vmr.cli.asked import (
    STDOUT,
    ArrowOption,
    AsOfOption,
    Output,
    ParquetOption,
    SourceOption,
    TimeoutOption,
    answer_of,
    open_reader,
    pick_output,
    print_answer,
)
from vmr.cli.context import run, settings_of
from vmr.cli.output import Format, print_note
from vmr.cli.shell import run_shell
from vmr.cli.shell.readers import ServiceReader
from vmr.errors import InvalidInputError, ServerNotFoundError
from vmr.log import connect_async
from vmr.settings import Settings

ParameterOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--param",
        metavar="NAME=VALUE",
        help="Value of the statement's parameter $NAME: a number, true, false, null, or else text. Once for each.",
    ),
]


def sql(
    context: typer.Context,
    statement: Annotated[
        str | None,
        typer.Argument(
            help="One SELECT, DESCRIBE, SHOW or EXPLAIN statement of DuckDB; - reads it from standard input."
            " Without one, on a terminal: a shell."
        ),
    ] = None,
    parameters: ParameterOption = None,
    as_of: AsOfOption = None,
    source: SourceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    parquet: ParquetOption = None,
    arrow: ArrowOption = None,
    timeout: TimeoutOption = None,
    shell: Annotated[
        bool,
        typer.Option("--shell", help="A shell; elsewhere than on a terminal, it reads statements from standard input."),
    ] = False,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a statement: copy the whole read model to a new DuckDB file.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Ask the read model in SQL. `SHOW TABLES` says what there is; without a statement, a shell that helps to find out."""
    output = pick_output(as_json=as_json, as_csv=as_csv, parquet=parquet, arrow=arrow)
    settings = settings_of(context)
    shell = shell or (statement is None and snapshot is None and sys.stdin.isatty() and sys.stdout.isatty())
    if (statement is not None) + (snapshot is not None) + shell != 1:
        raise InvalidInputError(
            'give a statement, such as vmr sql "SHOW TABLES", or --snapshot FILE, or --shell: one of them'
        )
    if snapshot is not None:
        if as_of is not None or source is not None or output != Output() or parameters:
            raise InvalidInputError("--snapshot copies the read model as it is now, and goes with no other option")
        print_note(f"the record up to sequence {run(_snapshot(settings, snapshot)):,} is in {snapshot}")
    elif shell:
        if parameters or output != Output(output.form):
            raise InvalidInputError("a shell takes no parameters and writes no files: give a statement")
        _shell(settings, source, as_of, output.form, timeout)
    else:
        asked = {
            "sql": sys.stdin.read() if statement == STDOUT else statement,
            "values": parse_values(parameters or []),
        }
        print_answer(answer_of(settings, "sql", asked, as_of, source, timeout), output)


def _shell(settings: Settings, source: str | None, as_of: str | None, form: Format, timeout: float | None) -> None:
    with open_reader(settings, source) as reader:
        title = source or f"Database {settings.db}"
        if source is None and not isinstance(reader, ServiceReader):
            title += ", as it is on disk; no server runs"
        if not run_shell(reader, title=title, as_of=as_of, form=form, timeout=timeout):
            raise typer.Exit(2)


def parse_values(words: Sequence[str]) -> dict[str, Any]:
    """Return the values that ``words`` (``name=value``) give to parameters: what JSON knows as a scalar, and text for the rest.

    Raises `InvalidInputError` for a word of another form, and for a name that is given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.removeprefix("$")
        if not equals or not name:
            raise InvalidInputError(f"-p {word}: give NAME=VALUE, such as -p vm=web-1 for $vm")
        if name in values:
            raise InvalidInputError(f"-p {name} is given twice")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=str)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, dict | list) else value


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
