"""``vmr log``: the event stream, as it happened and as it happens."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from vmr import subjects
from vmr.cli.context import run, settings_of
from vmr.cli.output import console, json_line, print_note, visible
from vmr.cli.steps import progress
from vmr.errors import InvalidInputError
from vmr.events import Body, OutputCaptured, Recorded, Unknown, VmAdded, encode
from vmr.log import AsyncLog, connect_async
from vmr.settings import Settings

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def log(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    start: Annotated[int, typer.Option("--from", min=1, help="Sequence to begin at.")] = 1,
    vm: Annotated[
        str | None, typer.Option(help="Only events of the VM of this name or uuid, and its schedule's.")
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Only events whose type matches, such as vm.entry_finished or 'vm.entry_*'."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per event and line.")] = False,
) -> None:
    """Print the events of the log in their order; `truncate` removes runs that are in archives from it."""
    if context.invoked_subcommand is not None:
        return
    run(_print_events(settings_of(context), follow=follow, start=start, vm=vm, pattern=type_, as_json=as_json))


@app.command("truncate")
def truncate(
    context: typer.Context,
    before: Annotated[
        str, typer.Option(metavar="RUN", help="Remove what is before this run: its number, or its experiment's name.")
    ],
    archives: Annotated[
        list[Path],
        typer.Option(
            "--archive",
            metavar="FILE",
            help="Archive with what is removed; once for each archive.",
            exists=True,
            dir_okay=False,
        ),
    ],
) -> None:
    """Remove the runs before one from the log, once archives are proven to hold every event of them. An interrupted call is finished by the next."""
    from vmr.archive import truncate_log  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    with progress("truncate") as shown:
        done = run(truncate_log(settings_of(context), before, archives, tell=shown.tell, say=shown.say))
    print_note(f"{done.removed:,} events were removed; the log begins with event {done.first:,}, of run {done.run}")


async def _print_events(
    settings: Settings, *, follow: bool, start: int, vm: str | None, pattern: str | None, as_json: bool
) -> None:
    async with connect_async(settings=settings, create=False) as log:
        printer = _Printer(await _names(log), as_json=as_json)
        filters = _filters(settings.db, vm, pattern, printer.names)
        batches = log.follow(filters, start) if follow else log.read(filters, start)
        await _print_matching(batches, pattern, printer)


async def _print_matching(batches: AsyncIterator[list[Recorded]], pattern: str | None, printer: _Printer) -> None:
    async for batch in batches:
        printer.print([event for event in batch if pattern is None or fnmatchcase(event.event.type, pattern)])


async def _names(log: AsyncLog) -> dict[str, str]:
    """Return the name of every VM that was ever added, by uuid."""
    names: dict[str, str] = {}
    async for batch in log.read([f"{subjects.ROOT}.{log.db}.vm.*.added"]):
        for recorded in batch:
            if isinstance(recorded.event.body, VmAdded):
                names[recorded.event.body.server_uuid] = recorded.event.body.server_name
    return names


def _filters(db: str, vm: str | None, pattern: str | None, names: dict[str, str]) -> list[str] | None:
    """Return the subjects that the server need send, or None for all."""
    if vm is not None:
        uuids = [uuid for uuid, name in names.items() if vm in {uuid, name}]
        if not uuids:
            raise InvalidInputError(f"no VM has the name or uuid {vm!r}: `vmr vm list uuid` shows both")
        schedules = {subjects.entity_subject(db, "schedule", names[uuid], ">") for uuid in uuids}
        return [*(subjects.entity_subject(db, "vm", uuid, ">") for uuid in uuids), *sorted(schedules)]
    entity = "" if pattern is None else pattern.partition(".")[0]
    return [f"{subjects.ROOT}.{db}.{entity}.>"] if entity.isalnum() else None


class _Printer:
    """Prints events, one line each, for people or as JSON."""

    def __init__(self, names: dict[str, str], *, as_json: bool) -> None:
        self.names = names
        self._as_json = as_json
        self._width = console().width if sys.stdout.isatty() else None

    def print(self, batch: Iterable[Recorded]) -> None:
        """Print events, in one piece: whoever reads along sees each batch as it comes."""
        line = self._json if self._as_json else self._line
        typer.echo(b"".join(line(recorded) for recorded in batch), nl=False)

    def _json(self, recorded: Recorded) -> bytes:
        plain = {"sequence": recorded.sequence, "stored": recorded.stored, "subject": recorded.subject}
        return json_line(plain | msgspec.json.decode(encode(recorded.event)))

    def _line(self, recorded: Recorded) -> bytes:
        event, body = recorded.event, recorded.event.body
        if isinstance(body, VmAdded):
            self.names[body.server_uuid] = body.server_name
        line = (
            f"{recorded.sequence:>7} {event.time:%H:%M:%S.%f} {event.type:<22} {self._who(body):<16} {_details(body)}"
        )
        text = visible(line.replace("\n", "\\n")).rstrip()
        if self._width is not None:
            fitted = Text(text)
            fitted.truncate(self._width, overflow="ellipsis")
            text = fitted.plain
        return text.encode("utf-8", "replace") + b"\n"

    def _who(self, body: Body | Unknown) -> str:
        key = None if isinstance(body, Unknown) or body.KEY is None else str(getattr(body, body.KEY))
        return "" if key is None else self.names.get(key, key)


def _details(body: Body | Unknown) -> str:
    if isinstance(body, Unknown):
        return f"version={body.version} {body.raw.decode('utf-8', 'replace')}"
    if isinstance(body, OutputCaptured):
        written: bytes | str = body.data if body.data is not None else body.text or ""
        return f"{body.entry} #{body.attempt} {body.stream} {written!r}"
    plain = msgspec.to_builtins(body)
    fields = {key: value for key, value in plain.items() if key not in {"type", body.KEY}}
    return " ".join(f"{key}={_short(value)}" for key, value in fields.items())


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str) and value and " " not in value else msgspec.json.encode(value).decode()
