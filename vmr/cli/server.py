"""``vmr up``, ``down`` and ``status``: the server, the projector and the query services of a database."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Annotated, Any, Final

import msgspec
import typer

from vmr import supervisor
from vmr.cli.context import run, settings_of
from vmr.cli.output import console, print_note
from vmr.errors import LogUnavailableError, VmrError
from vmr.log import AsyncLog
from vmr.logging import configure_logging
from vmr.server import EmbeddedServer
from vmr.settings import Settings

READY_SECONDS: Final = 60.0


def up(
    context: typer.Context,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when everything answers; `vmr down` stops it.")
    ] = False,
) -> None:
    """Run the embedded server, the projector with its queries and the SQL service, and keep them running."""
    settings = settings_of(context)
    if detach:
        run(ensure_up(settings))
        console().print(f"vmr is up: {address(settings)}, database {settings.db}")
        return
    configure_logging("info")
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    watched = supervisor.Supervisor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, watched.stop)
    try:
        await watched.run()
    except* VmrError as errors:
        raise errors.exceptions[0] from None


async def ensure_up(settings: Settings) -> bool:
    """Make sure that log and queries of ``settings`` answer; return whether this call started them.

    Raises `LogUnavailableError` when they do not answer in time; the message names the log file.
    """
    started = supervisor.running(settings) is None
    where = settings.database_dir / "vmr.log"
    if started:
        where = await asyncio.to_thread(supervisor.start_detached, settings)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            async with await AsyncLog.connect(settings) as log:
                await log.query("last_sequence", after=await log.last_sequence(), timeout=5.0)
        except (LogUnavailableError, VmrError) as error:
            if time.monotonic() > deadline:
                raise LogUnavailableError(f"vmr does not come up: {error}; see {where}") from error
            await asyncio.sleep(0.1)
        else:
            return started


def address(settings: Settings) -> str:
    """Return the address of the server that ``settings`` mean, for people."""
    return settings.url or EmbeddedServer(settings.server_dir).url


def down(context: typer.Context) -> None:
    """Stop what `vmr up` runs for this database. The record stays."""
    settings = settings_of(context)
    if supervisor.stop_running(settings):
        console().print("stopped")
    else:
        print_note(f"nothing runs for database {settings.db!r} in {settings.home}")


def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say which server and database are meant, what runs, and how far the read model is. Exit code 1 when it is not up."""
    settings = settings_of(context)
    found = run(_status(settings))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        for name, value in found.items():
            console().print(f"{name.replace('_', ' ')}: {'-' if value is None else value}", highlight=False)
    if found["problem"] is not None:
        raise typer.Exit(1)


async def _status(settings: Settings) -> dict[str, Any]:
    watched = supervisor.running(settings)
    found: dict[str, Any] = {
        "configuration": None if settings.config_file is None else str(settings.config_file),
        "home": str(settings.home),
        "database": settings.db,
        "server": settings.url or "embedded",
        "supervisor": None if watched is None else watched.pid,
        "services": None if watched is None else ", ".join(f"{name} {pid}" for name, pid in watched.services.items()),
        "events": None,
        "power_safe": None,
        "projected": None,
        "problem": None,
    }
    try:
        found["server"] = address(settings)
        async with await AsyncLog.connect(settings, create=False) as log:
            found["events"] = await log.last_sequence()
            found["power_safe"] = log.power_safe
            found["projected"] = (await log.query("last_sequence", timeout=5.0)).sequence
    except VmrError as error:
        found["problem"] = str(error)
    return found
