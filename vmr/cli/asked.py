"""Questions of people, as the commands put them: to the services, or to the record on disk when no server runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from vmr.cli.output import Format, pick_format, print_note, print_rows
from vmr.cli.shell.readers import Reader, ServiceReader, open_service
from vmr.cli.shell.waiting import ask_patiently
from vmr.errors import InvalidInputError, ServerNotFoundError
from vmr.query import Answer
from vmr.settings import Settings

if TYPE_CHECKING:
    from vmr.offline import OfflineReader

SECONDS: Final = 60.0
STDOUT: Final = "-"


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


TimeoutOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help="Give up after so long, by default 60 (in a shell 120, for each statement). Services do after 120.",
    ),
]


ArrowOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--arrow",
        metavar="FILE",
        help="Write the rows to an Arrow file, with their types; - is standard output (a stream).",
    ),
]


SourceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="Ask an archive, the file of a read model, or a run of the database by its number or name.",
    ),
]


@contextlib.contextmanager
def open_reader(settings: Settings, source: str | None = None) -> Iterator[Reader]:
    """Yield whom to ask: the services of ``settings``, or the record on disk when no server runs; or ``source``, see `vmr.record`.

    Raises `ServerNotFoundError` when there is neither, `InvalidInputError` when there is no such source.
    """
    with contextlib.ExitStack() as stack:
        if source is not None:
            from vmr.cli.open import source_reader  # noqa: PLC0415 - DuckDB takes long to load

            yield stack.enter_context(source_reader(settings, source))
            return
        try:
            reader: Reader = stack.enter_context(open_service(settings))
        except ServerNotFoundError:
            found = _record(settings)
            if found is None:
                raise
            reader = stack.enter_context(found)
        yield reader


def _record(settings: Settings) -> OfflineReader | None:
    """Return the embedded server's read model on disk; None when there is none or the server is another's."""
    from vmr import offline, sql_service  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    path = settings.database_dir / sql_service.READ_MODEL
    if not settings.embedded or not path.is_file():
        return None
    return offline.open_offline(path)


def answer_of(
    settings: Settings,
    name: str,
    params: Mapping[str, Any],
    as_of: str | None = None,
    source: str | None = None,
    timeout: float | None = None,
) -> Answer:
    """Return the answer to ``name``, which reflects everything that is in the log now (or in ``source``), or all that was at ``as_of``.

    It may take ``timeout`` seconds (default: `SECONDS`).
    Offline, it is what is on disk. A long one shows on the terminal how far it is; Ctrl-C stops it, and arrives as `KeyboardInterrupt`.
    """
    with open_reader(settings, source) as reader:
        answer = ask_patiently(reader, name, params, timeout=timeout or SECONDS, as_of=as_of)
        if source is None and not isinstance(reader, ServiceReader):
            print_note(f"no server runs; this is the record up to sequence {answer.sequence:,}")
        return answer


class Output(NamedTuple):
    """What becomes of the rows: printed in a format, or written to a file with their types."""

    form: Format = Format.TABLE
    parquet: Path | None = None
    arrow: str | None = None


def pick_output(*, as_json: bool, as_csv: bool, parquet: Path | None, arrow: str | None = None) -> Output:
    """Return what a command's options ask for; raise `InvalidInputError` when they ask for two things, or for what cannot be had."""
    form = pick_format(as_json=as_json, as_csv=as_csv)
    if sum((form is not Format.TABLE, parquet is not None, arrow is not None)) > 1:
        raise InvalidInputError("--json, --csv, --parquet and --arrow are formats: give one")
    if arrow is not None:
        from vmr.answer_files import check_arrow  # noqa: PLC0415 - DuckDB takes long to load

        check_arrow(to_terminal=arrow == STDOUT and sys.stdout.isatty())
    return Output(form, parquet, arrow)


def print_answer(answer: Answer, output: Output) -> None:
    """Print the rows, or write them to a file, and say where there were more."""
    if output.parquet is None and output.arrow is None:
        print_rows(answer.columns, answer.rows, output.form)
    else:
        _write(answer, output)
    if answer.truncated:
        print_note(f"only the first {len(answer.rows):,} rows; add a LIMIT or a WHERE")


def _write(answer: Answer, output: Output) -> None:
    from vmr import answer_files  # noqa: PLC0415 - DuckDB takes long to load

    if output.arrow == STDOUT:
        answer_files.write_arrow_stream(answer, sys.stdout.buffer)
        return
    if output.parquet is not None:
        answer_files.write_parquet(answer, output.parquet)
    elif output.arrow is not None:
        answer_files.write_arrow(answer, Path(output.arrow))
    print_note(f"{len(answer.rows):,} rows in {output.parquet or output.arrow}")
