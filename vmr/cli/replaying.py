"""What `vmr replay` does: plays a run to its audience, or says whether its record is whole."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import typer

from vmr.cli.open import opening
from vmr.cli.output import json_line, print_note
from vmr.cli.replay_view import Lines, Screen
from vmr.clock import SystemClock
from vmr.errors import InvalidInputError
from vmr.log._connection import Connection
from vmr.log._wire import Address
from vmr.replay.player import Audience, Player
from vmr.replay.publishing import Publisher, check_prefix
from vmr.replay.selection import Wanted
from vmr.replay.source import Source, open_source, open_table
from vmr.replay.table import needs_record
from vmr.replay.verify import Verdict, verify
from vmr.settings import Settings


async def play(
    settings: Settings,
    name: str | None,
    moments: tuple[str | None, str | None],
    factor: float,
    prefix: str | None,
    *,
    as_json: bool,
) -> None:
    """Play the run ``name`` between two moments at ``factor`` (0: stepwise), on the terminal, in lines, or below the subject ``prefix``."""
    screen = sys.stdout.isatty() and sys.stdin.isatty() and prefix is None and not as_json
    stepwise = factor == 0
    if stepwise and not screen:
        raise InvalidInputError("--speed step needs a terminal, whose keys say when to go on")
    async with contextlib.AsyncExitStack() as stack:
        if prefix is not None:
            check_prefix(prefix)
        with opening(name or "run") as tell:
            source = await stack.enter_async_context(
                open_source(name, settings, folded=needs_record(*moments), tell=tell)
            )
        first, last = await source.bounds(Wanted(since=moments[0], until=moments[1]))
        if first > last:
            raise InvalidInputError("there is no event between these moments")
        shown = Screen(source) if screen else None
        audience: Audience = shown or Lines(source, as_json=as_json)
        if prefix is not None:
            audience = await stack.enter_async_context(_publisher(settings, prefix))
        pace = 1.0 if stepwise else factor
        player = Player(source, audience, SystemClock(), first=first, last=last, speed=pace, stepwise=stepwise)
        if shown is not None:
            await shown.show(player, player.run)
            return
        await player.run()
        if prefix is not None:
            print_note(f"{last - first + 1:,} events are published on {prefix}.{_subjects(source)}")


def _subjects(source: Source) -> str:
    return f"vmr.{source.database}.>"


@contextlib.asynccontextmanager
async def _publisher(settings: Settings, prefix: str) -> AsyncIterator[Publisher]:
    connection = await Connection.open(Address.from_settings(settings), name="vmr replay")
    try:
        yield Publisher(connection.client, prefix)
    finally:
        await connection.close()


def check(settings: Settings, name: str | None, *, as_json: bool) -> None:
    """Say whether the record of the run ``name`` is whole; end with exit code 1 when it is not."""
    with opening(name or "run") as tell, open_table(name, settings, folded=False, tell=tell) as table:
        verdict = verify(table, tell=lambda done, all_: tell("folding twice", done, all_))
    if as_json:
        typer.echo(json_line({"good": verdict.good, **_plain(verdict)}), nl=False)
    else:
        for text in said(verdict):
            typer.echo(text)
    if not verdict.good:
        raise typer.Exit(1)


def _plain(verdict: Verdict) -> dict[str, object]:
    return {name: getattr(verdict, name) for name in verdict.__struct_fields__}


def said(verdict: Verdict) -> list[str]:
    """Return what was found, in lines for people: first what differs."""
    lines = []
    if verdict.unequal:
        lines.append(f"DIFFERS: table {verdict.unequal[0]} does not come out the same twice{_more(verdict.unequal)}")
    if verdict.changed:
        lines.append(
            f"DIFFERS: table {verdict.changed[0]} is not what it was when the run ended{_more(verdict.changed)}"
        )
    events = f"events {verdict.first:,} to {verdict.last:,}"
    if not verdict.unequal:
        lines.append(f"{events}: {verdict.tables} tables, folded twice, are the same")
    if verdict.sealed is None:
        lines.append("The run was not sealed when it ended, so that there is nothing to compare them with.")
    elif not verdict.changed:
        lines.append(f"They are what they were when the run ended (seal {verdict.sealed[:16]}).")
    if verdict.other_sql:
        lines.append(f"Not compared, because their SQL has changed since: {', '.join(verdict.other_sql)}")
    if verdict.beyond:
        lines.append(f"{verdict.beyond:,} events came after the seal, which does not cover them.")
    return lines


def _more(tables: tuple[str, ...]) -> str:
    return f" (nor do {', '.join(tables[1:])})" if len(tables) > 1 else ""
