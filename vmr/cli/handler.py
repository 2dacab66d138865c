"""``vmr handler`` and ``vmr service``: the long-running processes. `vmr run` and `vmr up` start them; service units do as well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from vmr.cli.context import run, settings_of
from vmr.errors import VmrError
from vmr.handler import Handler
from vmr.log import AsyncLog
from vmr.logging import configure_logging
from vmr.settings import Settings

_NICE: Final = {"projector": 5, "sql": 10}


def handler(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="Serve the VMs whose agents are on this host; by default this host's name.")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Where copies of resources and files out of guests go.", file_okay=False)
    ] = None,
) -> None:
    """Drive the VMs of one host until it is told to stop (SIGTERM, Ctrl-C). Killed and started again, it goes on."""
    settings = settings_of(context)
    configure_logging("info")
    name = host or socket.gethostname()
    run(until_told(_handle(settings, name, folder or settings.database_dir / "handler")))


async def _handle(settings: Settings, host: str, folder: Path) -> None:
    async with await AsyncLog.connect(settings, producer=f"handler@{host}", create=False) as log:
        try:
            await Handler(log, host, folder).run()
        except* VmrError as errors:
            raise errors.exceptions[0] from None


def service(
    context: typer.Context,
    name: Annotated[Literal["projector", "sql"], typer.Argument(help="Which service.")],
) -> None:
    """Run one of the services that `vmr up` keeps running: the projector with the queries, or SQL for people."""
    from vmr import query_service, sql_service  # noqa: PLC0415 - DuckDB takes long to load, and other commands do without

    settings = settings_of(context)
    configure_logging("info")
    # On a busy machine what records and drives has the processor first; this only reads what that says.
    os.nice(_NICE[name])
    run(until_told((query_service if name == "projector" else sql_service).main(settings)))


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends, or cancel it on SIGTERM or SIGINT and wait for it to end in order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
