"""``vmr vm pause``, ``resume`` and ``waive``: what an operator says about VMs while the experiment is under way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from vmr.cli.context import run, settings_of
from vmr.cli.output import print_note, visible
from vmr.errors import InvalidInputError
from vmr.events import ExperimentPaused, ExperimentResumed, KnownBody, VmPaused, VmResumed, VmWaived
from vmr.log import AsyncLog, connect_async
from vmr.present_vms import PresentVms
from vmr.settings import Settings

_Names = Annotated[list[str] | None, typer.Argument(help="Names or uuids of VMs.", metavar="NAMES")]
_All = Annotated[bool, typer.Option("--all", "-a", help="All VMs.")]


def pause(
    context: typer.Context,
    names: _Names = None,
    everybody: _All = False,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Seconds to hold them; without it, until `vmr vm resume`.")
    ] = None,
) -> None:
    """Hold the schedules of VMs: what runs goes on running, and what follows is put off for as long as they are held."""
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise InvalidInputError(f"--for {seconds:g}: give seconds above 0, or leave it out to hold them until a resume")
    everyone = ExperimentPaused(duration=seconds)
    said = _say(
        settings_of(context), names, everybody, everyone, lambda uuid: VmPaused(server_uuid=uuid, duration=seconds)
    )
    until = "until `vmr vm resume`" if seconds is None else f"for {seconds:g} seconds"
    typer.echo(f"Paused VM Resource Handling for {run(said)} VMs {until}.")


def resume(
    context: typer.Context,
    names: _Names = None,
    everybody: _All = False,
) -> None:
    """End pauses and breaks of VMs, those of their schedules as well: what was put off goes on."""
    said = _say(settings_of(context), names, everybody, ExperimentResumed(), lambda uuid: VmResumed(server_uuid=uuid))
    typer.echo(f"Resumed VM Resource Handling for {run(said)} VMs.")


async def _say(
    settings: Settings,
    names: Sequence[str] | None,
    everybody: bool,
    about_all: KnownBody,
    about_one: Callable[[str], KnownBody],
) -> int:
    """Record it about all VMs, in one event, or about each of those named; return how many VMs these are."""
    if bool(names) == everybody:
        raise InvalidInputError("give names or --all, not both" if names else "name VMs, or say --all")
    async with connect_async(settings=settings, create=False) as log:
        if not names:
            await log.publish(about_all)
            return len((await PresentVms.read(log)).managed)
        vms = (await PresentVms.read(log)).find(names)
        for vm in vms:
            if vm.state.lower() == "n/a":
                raise InvalidInputError(f"VM {vm.name!r}: vmr leaves it alone (state n/a), so there is nothing to hold")
        await log.publish_many([about_one(vm.uuid) for vm in vms])
        return len(vms)


def waive(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names or uuids of VMs.", metavar="NAMES")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Let the experiment start without VMs that failed or hang: it waits for them no longer."""
    run(_waive(settings_of(context), names, reason))


async def _waive(settings: Settings, names: Sequence[str], reason: str) -> None:
    async with connect_async(settings=settings, create=False) as log:
        present = await PresentVms.read(log)
        vms = present.find(names)
        if present.experiment.start is not None:
            print_note("the experiment has its start: it waits for no VM any more")
            return
        await log.publish_many([VmWaived(server_uuid=vm.uuid, reason=reason) for vm in vms])
        for vm in vms:
            typer.echo(f"VM {visible(vm.name)} is waived: the experiment does not wait for it.")
        await _print_waiting(log)


async def _print_waiting(log: AsyncLog) -> None:
    barrier = await (await PresentVms.read(log)).barrier(log)
    if barrier.not_ready:
        typer.echo(f"It waits for {len(barrier.not_ready)} more.")
    else:
        typer.echo("Every VM is ready; a run that had stopped goes on with `vmr run --resume`.")
