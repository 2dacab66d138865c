"""``vmr run``: an experiment from its file to its end, with live progress and a summary."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from vmr.cli.context import run as run_async
from vmr.cli.context import settings_of
from vmr.cli.output import print_note
from vmr.cli.progress import watcher
from vmr.cli.server import address, ensure_up
from vmr.cli.summary import print_summary
from vmr.errors import InvalidInputError
from vmr.log import AsyncLog
from vmr.run import Finished, Run, begin_run, find_run, resume_run, stop_guests
from vmr.run_guests import GuestKind
from vmr.run_state import counts
from vmr.settings import Settings


def run(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Experiment file (docs/experiments.md).", dir_okay=False)] = None,
    guests: Annotated[
        Literal["vm", "agent", "simulated"],
        typer.Option(
            help="vm: micro-VMs; agent: stock guest agents in namespaces of their own; simulated: nothing is executed."
        ),
    ] = "vm",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was stopped or killed.")] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new run although the one before is not finished.")
    ] = False,
    keep_guests: Annotated[bool, typer.Option("--keep-guests", help="Leave the guests running at the end.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the guests of the present run, and do nothing else.")
    ] = False,
) -> None:
    """Run an experiment and say what happened. Ctrl-C leaves a run that --resume goes on with.

    Exit code 0: the run ended and no VM failed. 1: a VM failed, or an attempt was lost.
    """
    if sum([file is not None, resume, stop]) != 1:
        raise InvalidInputError("give an experiment file, or --resume, or --stop")
    settings = settings_of(context)
    if stop:
        run_async(_stop(settings))
        return
    try:
        finished = run_async(_run(settings, file, guests, new=new, keep_guests=keep_guests))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None  # it has been said how to go on
    total = [counts(vm) for vm in finished.state.vms]
    if finished.state.failed() or any(each.lost or each.failed for each in total):
        raise typer.Exit(1)


async def _stop(settings: Settings) -> None:
    async with await AsyncLog.connect(settings, create=False) as log:
        await stop_guests(settings, await find_run(log))


async def _run(settings: Settings, file: Path | None, guests: GuestKind, *, new: bool, keep_guests: bool) -> Finished:
    # Ctrl-C is asyncio.run's; a polite kill gets the same ending.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    started = await ensure_up(settings)
    if started:
        print_note(f"started the server at {address(settings)} (stop it with `vmr down`)")
    async with await AsyncLog.connect(settings) as log:
        this = await (resume_run(log) if file is None else begin_run(log, file, guests, replace=new))
        try:
            with watcher(this.experiment.name) as watching:
                finished = await this.drive(watching, keep_guests=keep_guests)
        except asyncio.CancelledError:
            _say_how_to_go_on(this)
            raise
        await print_summary(log, this, finished)
        return finished


def _say_how_to_go_on(this: Run) -> None:
    print_note(
        f"stopped; the guests of {this.experiment.name!r} still run: `vmr run --resume` goes on, `vmr run --stop` ends them"
    )
