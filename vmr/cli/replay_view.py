"""What `vmr replay` shows: a picture that moves and obeys keys on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vmr.cli.keys import struck
from vmr.cli.output import json_line, visible
from vmr.errors import VmrError
from vmr.events import OutputCaptured, Recorded, Unknown, encode
from vmr.replay.picture import FOLDED, Picture
from vmr.replay.player import Player
from vmr.replay.selection import Wanted
from vmr.replay.source import Source

_PER_SECOND: Final = 10
_SEEK: Final = 10.0
_WIDE: Final = 400
_STYLES: Final = {"configured": "green", "n/a": "green", "configuring": "yellow", "failed": "bold red"}
KEYS: Final = "space: pause   .: step   ← →: 10 s   ↑ ↓ ] [: speed   q: leave"


async def primed(source: Source, sequence: int) -> Picture:
    """Return the picture after the event ``sequence`` of a run."""
    picture = Picture()
    if sequence >= source.first:
        async for batch in source.read(Wanted(types=FOLDED, until=sequence)):
            for recorded in batch:
                picture.apply(recorded, show=False)
    return picture


class Lines:
    """Prints each event as a line, or as JSON."""

    def __init__(self, source: Source, *, as_json: bool) -> None:
        self._source = source
        self._as_json = as_json
        self._picture = Picture()

    async def tell(self, events: list[Recorded]) -> None:
        """Print ``events``, in one piece."""
        lines = []
        for recorded in events:
            self._picture.apply(recorded)
            lines.append(_json(recorded) if self._as_json else line(self._picture, recorded).encode() + b"\n")
        typer.echo(b"".join(lines), nl=False)

    async def jump(self, sequence: int) -> None:
        """Learn the names and the start from what came before."""
        self._picture = await primed(self._source, sequence)


def _json(recorded: Recorded) -> bytes:
    plain = {"sequence": recorded.sequence, "stored": recorded.stored, "subject": recorded.subject}
    return json_line(plain | msgspec.json.decode(encode(recorded.event)))


def line(picture: Picture, recorded: Recorded) -> str:
    """Return an event as a line: sequence, time of the experiment, type, VM, and what it says."""
    event, body = recorded.event, recorded.event.body
    seconds = picture.seconds(event.time)
    when = f"{event.time:%H:%M:%S.%f}"[:-3] if seconds is None else f"{seconds:+.3f}"
    words = f"{recorded.sequence:>8} {when:>12} {event.type:<21} {picture.who(recorded):<16} {_said(body)}"
    return visible(words.replace("\n", "\\n"))[:_WIDE].rstrip()


def _said(body: Any) -> str:
    if isinstance(body, Unknown):
        return body.raw[:_WIDE].decode("utf-8", "replace")
    if isinstance(body, OutputCaptured):
        written: bytes | str = body.data if body.data is not None else body.text or ""
        return f"{body.entry} {body.stream} {written[:_WIDE]!r}"
    plain = {key: value for key, value in msgspec.to_builtins(body).items() if key not in {"type", body.KEY}}
    return " ".join(f"{key}={_short(value)}" for key, value in plain.items())


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else msgspec.json.encode(value).decode()[:80]


class Screen:
    """A live picture of the replay; `control` has its keys do what they say."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._picture = Picture()
        self._tasks: set[asyncio.Task[None]] = set()
        self._note = ""
        self._left = False
        self.player: Player | None = None

    async def tell(self, events: list[Recorded]) -> None:
        """Take ``events`` into the picture."""
        for recorded in events:
            self._picture.apply(recorded)

    async def jump(self, sequence: int) -> None:
        """Make the picture anew, as it was then."""
        self._picture = await primed(self._source, sequence)

    async def show(self, player: Player, work: Callable[[], Any]) -> None:
        """Show the picture and obey the keys while ``work`` goes on."""
        self.player = player
        working = asyncio.ensure_future(work())
        with (
            struck(lambda key: self._key(key, working)),
            Live(self, console=Console(highlight=False), refresh_per_second=_PER_SECOND, transient=False),
        ):
            try:
                await working
            except asyncio.CancelledError:
                if not self._left:
                    raise
            finally:
                working.cancel()

    def _key(self, key: str, working: asyncio.Future[Any]) -> None:
        assert self.player is not None
        player, timing = self.player, self.player.timing
        self._note = ""
        match key:
            case " ":
                player.toggle()
            case ".":
                player.step()
            case "]" | "up":
                player.set_speed(timing.speed * 2)
            case "[" | "down":
                player.set_speed(1.0 if math.isinf(timing.speed) else timing.speed / 2)
            case "left" | "right":
                self._seek(_SEEK if key == "right" else -_SEEK)
            case "q":
                self._left = True
                working.cancel()
            case _:
                pass

    def _seek(self, seconds: float) -> None:
        assert self.player is not None
        position = self.player.position() or self._picture.time
        if position is not None:
            task = asyncio.ensure_future(self._seek_to(position + timedelta(seconds=seconds)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _seek_to(self, position: datetime) -> None:
        assert self.player is not None
        try:
            self.player.seek(await self._source.sequence(position), position)
        except VmrError as error:
            self._note = str(error)

    def __rich__(self) -> RenderableType:
        """Return what is shown now."""
        if self.player is None:
            return Text("")
        counts = Table(box=None, pad_edge=False)
        counts.add_column("State")
        counts.add_column("VMs", justify="right")
        for state, count in self._picture.counts():
            counts.add_row(Text(visible(state), style=_STYLES.get(state, "")), str(count))
        lines = [Text(line(self._picture, each), no_wrap=True, overflow="ellipsis") for each in self._picture.last]
        return Group(Text(self._heading()), counts, Text(""), *lines, Text(self._note or KEYS, style="dim"))

    def _heading(self) -> str:
        assert self.player is not None
        player = self.player
        place = player.position() or self._picture.time
        seconds = self._picture.seconds(place)
        when = "" if place is None else f"{place:%Y-%m-%d %H:%M:%S} UTC" if seconds is None else f"time {seconds:+.1f}"
        speed = "as fast as possible" if math.isinf(player.timing.speed) else f"{player.timing.speed:g}x"
        how = "stepwise" if player.stepwise else "paused" if player.timing.paused else speed
        ended = ", ended" if self._picture.ended else ""
        name = visible(self._picture.name or "run")
        return f"{name}{ended}: {when}, event {player.sequence:,} of {player.last:,}, {how}"
