"""Questions of people, as the commands put them: to the services, or to the record on disk when no server runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import typer

from vmr.cli.output import Format, print_note, print_rows
from vmr.errors import ServerNotFoundError
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


def print_answer(answer: Answer, form: Format) -> None:
    """Print the rows, and say where there were more."""
    print_rows(answer.columns, answer.rows, form)
    if answer.truncated:
        print_note(f"only the first {len(answer.rows):,} rows; add a LIMIT or a WHERE")
