"""The root of the command line: options that every command shares, and what errors look like."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vmr import __version__
from vmr.cli import (
    archive,
    ask,
    blame,
    compare,
    experiment,
    export,
    files,
    handler,
    log,
    replay,
    report,
    rerun,
    run,
    schedule,
    server,
    sql,
    vm,
    vm_control,
)
from vmr.cli import open as open_command
from vmr.cli.context import State
from vmr.cli.output import print_error
from vmr.errors import InvalidInputError, VmrError
from vmr.logging import configure_logging

app = typer.Typer(
    name="vmr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Configure, start, drive and observe the virtual machines of an emulated network, and keep the record of it.",
)
app.command("up")(server.up)
app.command("down")(server.down)
app.command("status")(server.status)
app.command("run")(run.run)
app.command("rerun")(rerun.rerun)
app.add_typer(schedule.app, name="schedule")
vm.app.command("pause")(vm_control.pause)
vm.app.command("resume")(vm_control.resume)
vm.app.command("waive")(vm_control.waive)
app.add_typer(vm.app, name="vm")
app.add_typer(files.push_app, name="push")
app.add_typer(files.pull_app, name="pull")
app.command("time")(experiment.time)
app.command("end")(experiment.end)
app.add_typer(log.app, name="log")
app.add_typer(archive.app, name="archive")
app.command("ask", context_settings=ask.EXTRA)(ask.ask)
app.command("sql")(sql.sql)
app.command("replay")(replay.replay)
app.command("open")(open_command.open_)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("blame")(blame.blame)
app.command("export")(export.export)
app.add_typer(export.import_app, name="import")
app.command("handler")(handler.handler)
app.command("service")(handler.service)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vmr {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(help="NATS server to use, by default the embedded one of --home. [env: VMR_URL]")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of server, read models and runs. [env: VMR_HOME]", file_okay=False)
    ] = None,
    db: Annotated[str | None, typer.Option(help="Name of the database, by default prod. [env: VMR_DB]")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything, and show where an error comes from. [env: VMR_DEBUG]")
    ] = False,
    version: Annotated[  # noqa: ARG001  # its callback acts
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Keep the shared options for the command that follows; an option goes before environment and configuration file."""
    configure_logging("debug" if debug or _debug_wanted() else "warning")
    context.obj = State(url=url, home=home, db=db, debug=debug)


def _debug_wanted() -> bool:
    return os.environ.get("VMR_DEBUG", "") not in {"", "0"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: something went wrong. 2: what was asked is wrong. 130: interrupted. An error is one message on standard error,
    without a traceback unless ``--debug`` or ``VMR_DEBUG`` ask for it.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(args=given, prog_name="vmr")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0
    except VmrError as error:
        if _debug_wanted() or "--debug" in given:
            raise
        print_error(str(error))
        return 2 if isinstance(error, InvalidInputError) else 1
    except KeyboardInterrupt:
        return 130
    return 0
