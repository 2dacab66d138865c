"""``vmr archive``: the record of a run as one file; proof that it is whole; and back into a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer.core import TyperGroup

from vmr.cli.context import run, settings_of
from vmr.cli.output import console, print_error, print_note, visible
from vmr.cli.steps import progress
from vmr.errors import LogUnavailableError
from vmr.log import connect_async
from vmr.settings import Settings
from vmr.subjects import check_database


class _Group(TyperGroup):
    """A group whose first command may be left out: ``vmr archive RUN -o FILE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["create", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The record of a run as one file: `vmr archive RUN -o FILE` writes it, `verify` and `import` read it.",
)
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The archive.", exists=True, dir_okay=False)]


@app.command("create")
def create(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.", dir_okay=False)],
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Number of a run, or its experiment's name; by default the current run."),
    ] = None,
    until: Annotated[
        int | None, typer.Option(min=1, metavar="SEQUENCE", help="Last event to take; by default the last there is.")
    ] = None,
) -> None:
    """Write a run, over or going on, to a new file; the word create may be left out. Called again after an interruption, it goes on."""
    try:
        run(_create(settings_of(context), wanted, output, until))
    except (KeyboardInterrupt, LogUnavailableError):
        if output.with_name(f"{output.name}.part").is_dir():
            print_note(f"interrupted; the same command goes on from what is in {output}.part")
        raise


async def _create(settings: Settings, wanted: str | None, output: Path, until: int | None) -> None:
    from vmr import archive  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    with progress("archive") as shown:
        async with connect_async(settings=settings, create=False) as log:
            manifest = await archive.create_archive(log, wanted, output, until=until, tell=shown.tell, say=shown.say)
    print_note(
        f"run {manifest.run}: {manifest.events:,} events ({manifest.first:,} to {manifest.last:,}) are in {output}; "
        f"hash chain {manifest.chain}"
    )
    if manifest.missing:
        print_note(f"{len(manifest.missing):,} objects that it refers to were not in the object store, or damaged")
    if not manifest.ended:
        print_note("the run has not ended yet")


@app.command("verify")
def verify(
    file: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at every byte of an archive: is it whole, or which event is the first that is not? Exit code 1 when it is not whole."""
    from vmr import archive  # noqa: PLC0415 - as above

    with progress("verify") as shown:
        verdict = archive.verify_archive(file, tell=shown.tell)
    if as_json:
        typer.echo(msgspec.json.encode({"whole": verdict.whole, **msgspec.to_builtins(verdict)}).decode())
    elif verdict.whole:
        console().print(visible(str(verdict)), highlight=False)
    else:
        print_error(str(verdict))
    if verdict.missing and not as_json:
        print_note(f"{len(verdict.missing):,} objects were not in the object store when it was taken, or damaged")
    if not verdict.whole:
        raise typer.Exit(1)


@app.command("import")
def import_(
    context: typer.Context,
    file: FileArgument,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="NAME", help="Database to import into; by default the one of vmr --db."),
    ] = None,
) -> None:
    """Put a run back into a server: a new database, or one that ends where the archive begins. Sequences and times stay as they were."""
    from vmr import archive  # noqa: PLC0415 - as above

    settings = settings_of(context)
    if db is not None:
        settings = msgspec.structs.replace(settings, db=check_database(db))
    with progress("import") as shown:
        manifest = run(archive.import_archive(settings, file, tell=shown.tell, say=shown.say))
    print_note(
        f"run {manifest.run}: {manifest.events:,} events ({manifest.first:,} to {manifest.last:,}) are in database {settings.db}"
    )
