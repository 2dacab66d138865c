"""``vmr run``: an experiment from its file to its end, with live progress and a summary."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, Literal

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

_CONCLUDE_SECONDS: Final = 2.0


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
    exit_with(guarded(_run(settings, file, guests, new=new, keep_guests=keep_guests)))


def guarded(work: Coroutine[Any, Any, Finished]) -> Finished:
    """Return what ``work`` returns; end the command when it was told to stop, which it has said how to go on from."""
    try:
        return run_async(work)
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None


def exit_with(finished: Finished) -> None:
    """End the command with exit code 1 when a VM failed, or an attempt was lost."""
    total = [counts(vm) for vm in finished.state.vms]
    if finished.state.failed() or any(each.lost or each.failed for each in total):
        raise typer.Exit(1)


async def _stop(settings: Settings) -> None:
    async with await AsyncLog.connect(settings, create=False) as log:
        await stop_guests(settings, await find_run(log))


async def _run(settings: Settings, file: Path | None, guests: GuestKind, *, new: bool, keep_guests: bool) -> Finished:
    await serve(settings)
    return await drive(settings, file, guests, new=new, keep_guests=keep_guests)


async def serve(settings: Settings) -> None:
    """See to it that the services are up, and that a polite kill ends this task as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if await ensure_up(settings):
        print_note(f"started the server at {address(settings)} (stop it with `vmr down`)")


async def drive(
    settings: Settings,
    file: Path | None,
    guests: GuestKind,
    *,
    new: bool,
    keep_guests: bool,
    beside: Callable[[AsyncLog, Run], Coroutine[Any, Any, None]] | None = None,
) -> Finished:
    """Run the experiment in ``file``, or go on with the present run, and say what happened; ``beside`` acts while it goes on."""
    async with await AsyncLog.connect(settings) as log:
        this = await (resume_run(log) if file is None else begin_run(log, file, guests, replace=new))
        acting = None if beside is None else asyncio.create_task(beside(log, this))
        try:
            with watcher(this.experiment.name) as watching:
                finished = await this.drive(watching, keep_guests=keep_guests)
        except asyncio.CancelledError:
            _say_how_to_go_on(this)
            raise
        finally:
            if acting is not None:
                await _conclude(acting)
        await print_summary(log, this, finished)
        return finished


async def _conclude(acting: asyncio.Task[None]) -> None:
    """Wait for what acts beside a run, which sees the run's end by itself; say why it could not act."""
    await asyncio.wait({acting}, timeout=_CONCLUDE_SECONDS)
    acting.cancel()
    (error,) = await asyncio.gather(acting, return_exceptions=True)
    if isinstance(error, Exception):
        print_note(f"not everything was done again: {error}")


def _say_how_to_go_on(this: Run) -> None:
    print_note(
        f"stopped; the guests of {this.experiment.name!r} still run: `vmr run --resume` goes on, `vmr run --stop` ends them"
    )
