"""``vmr vm``: the VMs of the current run, as a list and as counts (FIREWHEEL's words where it has them)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vmr import subjects
from vmr.cli.asked import AsOfOption, SourceOption, answer_of
from vmr.cli.context import run, settings_of
from vmr.cli.output import Format, console, pick_format, print_rows, visible
from vmr.errors import InvalidInputError
from vmr.log import AsyncLog, connect_async
from vmr.settings import Settings
from vmr.yaml_decode import suggestion

app = typer.Typer(
    no_args_is_help=True,
    help="Look at the VMs of the current run, hold them and let them go on.",
    rich_markup_mode=None,
)

FIELDS: Final[Mapping[str, str]] = {
    "name": "server_name",
    "uuid": "server_uuid",
    "state": "state",
    "time": "current_time",
    "ip": "control_ip",
    "reason": "state_reason",
    "agent": "agent_path",
}
_HEADINGS: Final = {"ip": "IP", "uuid": "UUID"}
_DEFAULT_FIELDS: Final = ("state", "time")
_STYLES: Final = {
    "configured": "green",
    "n/a": "green",
    "configuring": "yellow",
    "testing": "yellow",
    "failed": "bold red",
}


@app.command("list")
def list_vms(
    context: typer.Context,
    fields: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIELD[=FILTER]]...",
            help=f"Fields to show ({', '.join(FIELDS)}); with =FILTER only VMs whose field holds that text. All filters must match.",
        ),
    ] = None,
    as_of: AsOfOption = None,
    source: SourceOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per VM and line.")] = False,
) -> None:
    """List the VMs with their state and time, now or as of a moment of the record."""
    form = pick_format(as_json=as_json, as_csv=as_csv)
    shown, filters = parse_fields(fields or [])
    settings = settings_of(context)
    present = as_of is None and source is None
    vms = run(_vms(settings)) if present else answer_of(settings, "vms", {}, as_of, source).records()
    rows = [vm for vm in vms if all(text.lower() in _value(vm, field).lower() for field, text in filters)]
    if form is not Format.TABLE:
        print_rows(shown, [[_value(vm, field) for field in shown] for vm in rows], form)
        return
    cells = [[_shown(vm, field) for field in shown] for vm in rows]
    print_rows(
        [_HEADINGS.get(field, field.capitalize()) for field in shown],
        cells,
        title="Current VMs" if as_of is None else f"VMs as of {as_of}",
    )
    typer.echo(f"Found {len(rows)} VMs")


@app.command("mix")
def mix(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep the table up to date, until Ctrl-C.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per state and line.")] = False,
) -> None:
    """Count the VMs by state."""
    form = pick_format(as_json=as_json, as_csv=as_csv)
    settings = settings_of(context)
    if follow:
        if form is not Format.TABLE:
            raise InvalidInputError(
                "--follow is for tables; for a stream use: vmr log --follow --type vm.state_set --json"
            )
        run(_follow_mix(settings))
        return
    counts = count_states(run(_vms(settings)))
    if form is Format.TABLE:
        console().print(mix_table(counts))
    else:
        print_rows(["state", "count"], counts, form)


def parse_fields(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the fields to show, the name first, and the filters; raise `InvalidInputError` for a field that VMs do not have."""
    shown, filters = ["name"], []
    for word in words:
        field, equals, text = word.partition("=")
        if field not in FIELDS:
            raise InvalidInputError(f"VMs have no field {field!r}; {suggestion(field, list(FIELDS))}")
        if field not in shown:
            shown.append(field)
        if equals:
            filters.append((field, text))
    return (shown if len(shown) > 1 or words else ["name", *_DEFAULT_FIELDS]), filters


def count_states(vms: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return how many VMs are in each state, the most frequent first."""
    return sorted(Counter(str(vm["state"]) for vm in vms).items(), key=lambda item: (-item[1], item[0]))


def mix_table(counts: Sequence[tuple[str, int]]) -> Table:
    """Return the counts as a table with their sum."""
    result = Table(show_footer=True)
    result.add_column("VM Resource State", footer="Total Scheduled")
    result.add_column("Count", justify="right", footer=str(sum(count for _, count in counts)))
    for state, count in counts:
        result.add_row(Text(visible(state), style=_STYLES.get(state.lower(), "")), str(count))
    return result


async def _vms(settings: Settings) -> list[dict[str, Any]]:
    async with connect_async(settings=settings, create=False) as log:
        return await _ask(log, await log.last_sequence())


async def _ask(log: AsyncLog, after: int) -> list[dict[str, Any]]:
    answer = await log.query("vms", after=after)
    return answer.records()


async def _follow_mix(settings: Settings) -> None:
    root = f"{subjects.ROOT}.{settings.db}"
    changes = [f"{root}.vm.*.{event}" for event in ("added", "removed", "state_set")] + [f"{root}.experiment.cleared"]
    async with connect_async(settings=settings, create=False) as log:
        last = await log.last_sequence()
        with Live(mix_table(count_states(await _ask(log, last))), console=console(), auto_refresh=False) as live:
            async for batch in log.follow(changes, last + 1):
                live.update(mix_table(count_states(await _ask(log, batch[-1].sequence))), refresh=True)


def _value(vm: Mapping[str, Any], field: str) -> str:
    return str(vm.get(FIELDS[field]) or "")


def _shown(vm: Mapping[str, Any], field: str) -> str:
    value = _value(vm, field)
    if field != "time":
        return value
    return "N/A" if not value else value if value.startswith("-") else ":)"
