"""Questions of people, as the commands put them: to the services, or to the record on disk when no server runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from vmr.cli.output import Format, pick_format, print_note, print_rows
from vmr.errors import InvalidInputError, ServerNotFoundError
from vmr.log import connect_async
from vmr.query import Answer
from vmr.settings import Settings

SECONDS: Final = 60.0


AsOfOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="MOMENT", help="As it was at a sequence (117), a time (2026-01-31T12:00:05Z), or start+30s."
    ),
]


ParquetOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--parquet", metavar="FILE", help="Write the rows to a Parquet file, with their types.", dir_okay=False
    ),
]


async def answer_of(settings: Settings, name: str, params: Mapping[str, Any], as_of: str | None = None) -> Answer:
    """Return the answer to ``name``, which reflects everything that is in the log now, or all that was at ``as_of``.

    Offline, it is what is on disk.
    """
    try:
        async with connect_async(settings=settings, create=False) as log:
            return await log.query(name, params, after=await log.last_sequence(), timeout=SECONDS, as_of=as_of)
    except ServerNotFoundError:
        answer = _answer_offline(settings, name, params, as_of)
        if answer is None:
            raise
        print_note(f"no server runs; this is the record up to sequence {answer.sequence:,}")
        return answer


def _answer_offline(settings: Settings, name: str, params: Mapping[str, Any], as_of: str | None) -> Answer | None:
    """Return the answer from the embedded server's read model on disk; None when there is none or the server is another's."""
    from vmr import offline, sql_service  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    path = settings.database_dir / sql_service.READ_MODEL
    if not settings.embedded or not path.is_file():
        return None
    with offline.open_offline(path) as reader:
        return reader.ask(name, params, timeout=SECONDS, as_of=as_of)


def print_answer(answer: Answer, form: Format, parquet: Path | None = None) -> None:
    """Print the rows, or write them to the file ``parquet``, and say where there were more."""
    if parquet is None:
        print_rows(answer.columns, answer.rows, form)
    else:
        from vmr.export import write_parquet  # noqa: PLC0415 - DuckDB takes long to load

        write_parquet(answer, parquet)
        print_note(f"{len(answer.rows):,} rows in {parquet}")
    if answer.truncated:
        print_note(f"only the first {len(answer.rows):,} rows; add a LIMIT or a WHERE")


def pick_output(*, as_json: bool, as_csv: bool, parquet: Path | None) -> Format:
    """Return the format that a command's options ask for; raise `InvalidInputError` when they ask for two."""
    form = pick_format(as_json=as_json, as_csv=as_csv)
    if parquet is not None and form is not Format.TABLE:
        raise InvalidInputError("--parquet is a format as --json and --csv are: give one")
    return form
