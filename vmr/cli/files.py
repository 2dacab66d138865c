"""``vmr push file`` and ``vmr pull file``: files into and out of VMs while the experiment is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from vmr.cli.context import run, settings_of
from vmr.cli.output import print_note, visible
from vmr.late_entries import LateEntry, conclude
from vmr.late_files import copies_of, pull, push, save
from vmr.log import connect_async
from vmr.settings import Settings

WAIT_SECONDS: Final = 120.0
"""FIREWHEEL looks 24 times, every 5 seconds."""

push_app = typer.Typer(no_args_is_help=True, help="Put things into VMs.", rich_markup_mode=None)
pull_app = typer.Typer(no_args_is_help=True, help="Get things out of VMs.", rich_markup_mode=None)

_Vm = Annotated[str, typer.Argument(help="Name or uuid of the VM.", metavar="VM")]
_Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait until it is done.")]


@push_app.command("file")
def push_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="File on this host.", metavar="FILE", exists=True, dir_okay=False, readable=True)
    ],
    vm: _Vm,
    dest: Annotated[str, typer.Argument(help="Full path of the file in the VM.", metavar="DEST")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there; without it, that one stays.")
    ] = False,
    executable: Annotated[bool, typer.Option("--executable", "-x", help="Make it executable.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return when the entry is recorded.")] = False,
    timeout: _Timeout = WAIT_SECONDS,
) -> None:
    """Put a file into a VM: as a resource and a new entry of its schedule, at a time before all others."""
    wait = None if no_wait else timeout
    run(_push(settings_of(context), file, vm, dest, overwrite=overwrite, executable=executable, wait=wait))


async def _push(
    settings: Settings, file: Path, vm: str, dest: str, *, overwrite: bool, executable: bool, wait: float | None
) -> None:
    async with connect_async(settings=settings, create=False) as log:
        late = await push(log, vm, file, dest, overwrite=overwrite, executable=executable, say=typer.echo)
        if wait is None:
            return
        _note_no_handler(late)
        await conclude(log, late, wait)
        name = visible(late.vm.name)
        there = "" if overwrite else " (if one was there before, it has stayed: --overwrite replaces it)"
        typer.echo(f"{file.name!r} is in {name} at {visible(dest)}{there}.")


@pull_app.command("file")
def pull_file(
    context: typer.Context,
    path: Annotated[
        str, typer.Argument(help="Full path in the VM: a file, a folder, or with wildcards.", metavar="PATH")
    ],
    vm: _Vm,
    dest: Annotated[Path, typer.Argument(help="File or folder on this host.", metavar="DEST")],
    timeout: _Timeout = WAIT_SECONDS,
) -> None:
    """Get a file out of a VM, by a new entry of its schedule at a time before all others."""
    run(_pull(settings_of(context), path, vm, dest, timeout))


async def _pull(settings: Settings, path: str, vm: str, dest: Path, timeout: float) -> None:
    async with connect_async(settings=settings, create=False) as log:
        late = await pull(log, vm, path)
        print_note("Checking if the file is ready...")
        _note_no_handler(late)
        files = await conclude(log, late, timeout)
    host = "" if late.vm.agent is None else late.vm.agent.host
    for copy in copies_of(path, files, dest):
        await asyncio.to_thread(save, copy, host)
        said = f"{copy.file.guest_path} -> {copy.target}: {copy.file.size} bytes, sha256 {copy.file.sha256}"
        typer.echo(visible(said))


def _note_no_handler(late: LateEntry) -> None:
    if late.vm.handler is None:
        print_note(
            f"no handler has {late.vm.name!r} at present: it is done when one has (`vmr run --resume`, `vmr handler`)"
        )
