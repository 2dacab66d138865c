"""``vmr replay``: a run once more, at its own pace or another, on the terminal or onto subjects; and whether its record is whole."""

from __future__ import annotations

import math
from typing import Annotated, Final

import typer

from vmr.cli.context import run, settings_of
from vmr.errors import InvalidInputError

_STEP: Final = "step"


def replay(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="An archive, a read model's file (FILE#2: its run 2), or a run's number or name; without it, the current run.",
        ),
    ] = None,
    speed: Annotated[
        str,
        typer.Option(
            "--speed", "-s", metavar="FACTOR", help="1, 10, 0.5, …; max: as fast as possible; step: event by event."
        ),
    ] = "1",
    begin: Annotated[
        str | None, typer.Option("--from", metavar="MOMENT", help="Begin at a sequence, a time, or start+30s.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="MOMENT", help="End there.")] = None,
    publish: Annotated[
        str | None,
        typer.Option(
            "--publish",
            metavar="PREFIX",
            help="Instead of showing them: publish the events below this subject (replay.mine), for other programs.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per event and line.")] = False,
    verifying: Annotated[
        bool,
        typer.Option(
            "--verify", help="Fold the events twice, and compare the tables, also with those when the run ended."
        ),
    ] = False,
) -> None:
    """Play a run again: on the terminal with keys to pause, step, seek and change the speed; elsewhere as lines.

    With --verify nothing is played: exit code 0 says that the record is what it was, 1 that it is not.
    """
    from vmr.cli import replaying  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    settings = settings_of(context)
    if verifying:
        if any((begin, end, publish)) or speed != "1":
            raise InvalidInputError("--verify looks at a whole run, and goes with no other option but --json")
        replaying.check(settings, source, as_json=as_json)
        return
    if publish is not None and as_json:
        raise InvalidInputError("--publish shows nothing: leave --json out")
    factor = parse_speed(speed)
    run(replaying.play(settings, source, (begin, end), factor, publish, as_json=as_json))


def parse_speed(text: str) -> float:
    """Return the factor in ``text``: infinite for ``max``, 0 for ``step``; raise `InvalidInputError` for what is none."""
    if text in {"max", _STEP}:
        return math.inf if text == "max" else 0.0
    try:
        factor = float(text.removesuffix("x"))
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise InvalidInputError(f"--speed {text}: give a number above 0 (2 is twice as fast), max or {_STEP}")
    return factor
