"""``vmr open``: an archive asked as a database is, without any server; and the readers of ``--source``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vmr.cli.asked import AsOfOption
from vmr.cli.context import settings_of
from vmr.cli.output import Format, pick_format, visible
from vmr.cli.shell import run_shell
from vmr.settings import Settings

if TYPE_CHECKING:
    from vmr.offline import OfflineReader
    from vmr.opened.build import Tell
    from vmr.opened.reader import Reader


def open_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An archive (`vmr archive`), or the file of a read model.")
    ],
    as_of: AsOfOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row and line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep nothing of it in the cache folder; the next time takes as long.")
    ] = False,
) -> None:
    """Ask an archive in SQL, in a shell, without any server; elsewhere than on a terminal, statements are read from standard input.

    The first time it is unpacked and folded; after that it is in the cache, for `--source` of `vmr sql`, `vmr ask` and `vmr vm list`, too.
    """
    from vmr.opened.reader import open_reader  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    form = pick_format(as_json=as_json, as_csv=as_csv)
    settings_of(context)
    with opening(file.name) as tell, contextlib.ExitStack() as stack:
        reader = stack.enter_context(open_reader(file, cache=not no_cache, tell=tell))
        kept = stack.pop_all()
    with kept:
        _shell(reader, file, as_of, form)


def _shell(reader: Reader, file: Path, as_of: str | None, form: Format) -> None:
    runs = reader.query("runs").records()
    named = ", ".join(str(run["name"] or f"run {run['run']}") for run in runs)
    title = visible(f"{file.name}: {named}, {sum(run['events'] for run in runs):,} events")
    if not run_shell(reader, title=title, as_of=as_of, form=form):
        raise typer.Exit(2)


@contextlib.contextmanager
def source_reader(settings: Settings, source: str) -> Iterator[OfflineReader]:
    """Yield whom to ask about ``source``: a file, or a run of the database; see `vmr.record.open_run` for what it raises."""
    from vmr.offline import open_offline  # noqa: PLC0415 - as above
    from vmr.opened.reader import open_reader  # noqa: PLC0415
    from vmr.record import as_file, open_run  # noqa: PLC0415

    file, run = as_file(source)
    with contextlib.ExitStack() as stack:
        if file is not None and run is None:
            with opening(file.name) as tell:
                reader: OfflineReader = stack.enter_context(open_reader(file, tell=tell))
        else:
            reader = stack.enter_context(open_offline(stack.enter_context(open_run(source, settings))))
        yield reader


@contextlib.contextmanager
def opening(name: str) -> Iterator[Tell]:
    """Yield what shows how the opening of a file goes, on standard error where that is a terminal."""
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(visible(name), total=None)

        def tell(what: str, done: int, all_: int) -> None:
            progress.update(task, description=f"{visible(name)}: {what}", completed=done, total=all_)

        yield tell
