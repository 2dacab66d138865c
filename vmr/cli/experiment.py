"""``vmr time`` and ``vmr end``: when the experiment started or will start, and calling it the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from vmr.cli.context import run, settings_of
from vmr.cli.output import json_line
from vmr.errors import InvalidInputError
from vmr.events import ExperimentEnded
from vmr.experiment_fold import ExperimentFold
from vmr.log import connect_async
from vmr.present_vms import PresentVms
from vmr.run import find_run, is_driven
from vmr.settings import Settings


def time(
    context: typer.Context,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON object: start_time (UTC) and seconds_since_start, null before these are known."
        ),
    ] = False,
) -> None:
    """Print when the experiment started, or will start."""
    start = run(_start(settings_of(context)))
    since = None if start is None else (datetime.now(UTC) - start).total_seconds()
    if as_json:
        told = None if since is None else round(since, 3)
        typer.echo(json_line({"start_time": start, "seconds_since_start": told}), nl=False)
        return
    for line in told_time(start, since):
        typer.echo(line)


def told_time(start: datetime | None, since: float | None) -> list[str]:
    """Return the start (UTC), and how many seconds it lies back, in FIREWHEEL's words."""
    if start is None or since is None:
        return ["Experiment start time not yet determined."]
    told = f"will start in {-since:.0f} seconds" if since < 0 else f"started {since:.0f} seconds ago"
    return [f"Experiment start time: {start:%m-%d-%Y %H:%M:%S} UTC", f"Experiment {told}"]


async def _start(settings: Settings) -> datetime | None:
    async with connect_async(settings=settings, create=False) as log:
        return (await ExperimentFold().read(log)).start


def end(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Call it the end: nothing more of any schedule begins. `vmr run` ends with it and stops its guests."""
    run(_end(settings_of(context), reason))


async def _end(settings: Settings, reason: str) -> None:
    async with connect_async(settings=settings, create=False) as log:
        experiment = (await PresentVms.read(log)).experiment
        if experiment.launched is None:
            raise InvalidInputError(
                "no experiment has been launched, so there is none to end: `vmr run FILE` begins one"
            )
        if experiment.ended:
            raise InvalidInputError("the experiment has ended already: `vmr run FILE` begins another")
        await log.publish(ExperimentEnded(reason=reason or "called by an operator"))
        typer.echo("The experiment is called ended: nothing more of any schedule begins.")
        begin = await find_run(log)
        if not is_driven(settings, begin):  # else that `vmr run` seals it, when its guests are quiet
            from vmr.replay.seal import try_to_seal  # noqa: PLC0415 - DuckDB takes long to load

            await try_to_seal(log, begin)
