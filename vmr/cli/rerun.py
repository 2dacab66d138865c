"""``vmr rerun``: a new run with the VMs, resources and schedules of one that is recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from vmr.cli import run as run_command
from vmr.cli.context import run, settings_of
from vmr.cli.output import print_note, visible
from vmr.clock import SystemClock
from vmr.errors import InvalidInputError
from vmr.log import AsyncLog
from vmr.run import Finished, Run
from vmr.run_guests import GuestKind
from vmr.settings import Settings

if TYPE_CHECKING:
    from vmr.replay.again import Kept

_KINDS: tuple[str, ...] = get_args(GuestKind)
_FOLDER = "reruns"


def rerun(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="An archive, or a run of the database by number or name; without it, the current run.",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--with-controls",
            help="Do again, at the same times of the experiment, what operators did: pauses, resumes, waivers, pushed files.",
        ),
    ] = False,
    guests: Annotated[
        Literal["vm", "agent", "simulated"] | None,
        typer.Option(help="Kind of guests, as of vmr run; by default the recorded run's."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Run nothing: write the experiment file, and a folder `files` beside it.",
            dir_okay=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing: print the experiment file, and what operators did.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new run although the one before is not finished.")
    ] = False,
    keep_guests: Annotated[bool, typer.Option("--keep-guests", help="Leave the guests running at the end.")] = False,
) -> None:
    """Run a recorded experiment again: the same VMs, resources and schedules. Exit codes are those of vmr run."""
    settings = settings_of(context)
    if output is not None and (dry_run or controls):
        raise InvalidInputError("-o writes an experiment file, which says nothing of operators: leave the other out")
    if output is not None or dry_run:
        run(_write(settings, source, None if output is None else output.absolute()))
        return
    finished = run_command.guarded(
        _rerun(settings, source, guests, controls=controls, new=new, keep_guests=keep_guests)
    )
    run_command.exit_with(finished)


async def _write(settings: Settings, source: str | None, output: Path | None) -> None:
    from vmr.experiment_writer import to_yaml  # noqa: PLC0415 - only here
    from vmr.replay.again import experiment_of, files_of, kept, write  # noqa: PLC0415 - DuckDB takes long to load
    from vmr.replay.controls import described  # noqa: PLC0415 - as above

    async with kept(source, settings) as recorded:
        if output is not None:
            experiment = await write(recorded, output)
            print_note(
                f"{len(experiment.vms)} VMs, {sum(len(vm.entries) for vm in experiment.vms)} entries in {output}"
            )
            return
        here = Path.cwd()
        typer.echo(to_yaml(experiment_of(recorded, here), here), nl=False)
        print_note(f"files: {', '.join(map(visible, files_of(recorded.facts))) or 'none'}")
        for control in recorded.facts.controls:
            print_note(visible(described(control)))


async def _rerun(
    settings: Settings, source: str | None, guests: GuestKind | None, *, controls: bool, new: bool, keep_guests: bool
) -> Finished:
    from vmr.record import as_file  # noqa: PLC0415 - as above
    from vmr.replay.again import kept, name_of  # noqa: PLC0415 - as above

    from_file = as_file(source)[0] is not None
    if not from_file:
        await run_command.serve(settings)
    async with kept(source, settings) as recorded:
        folder = settings.database_dir / _FOLDER / name_of(recorded)
        await _prepare(recorded, folder)
        acts = recorded.facts.controls if controls else []
        files = await _objects(recorded, folder) if controls else []
        launched = recorded.facts.launched
        assert launched is not None
        before = launched.guests if launched.guests in _KINDS else "vm"
        kind: GuestKind = guests or before  # type: ignore[assignment]  # one of the kinds

    if from_file:  # not before it is known to be one
        await run_command.serve(settings)

    async def beside(log: AsyncLog, this: Run) -> None:
        from vmr.replay.controls import play, put_objects  # noqa: PLC0415 - as above

        await put_objects(log, files)
        done = await play(log, acts, this.begin, SystemClock())
        if done < len(acts):
            print_note(f"the run ended before {len(acts) - done} of {len(acts)} acts of operators were due")

    file = folder / "experiment.yaml"
    return await run_command.drive(
        settings, file, kind, new=new, keep_guests=keep_guests, beside=beside if acts else None
    )


async def _prepare(recorded: Kept, folder: Path) -> None:
    """Write experiment file and resources into ``folder``, where `vmr run --resume` finds them; there already, they are the same."""
    from vmr.replay.again import EXPERIMENT, write  # noqa: PLC0415 - as above

    if not _is_ready(folder):
        await write(recorded, folder / EXPERIMENT)


def _is_ready(folder: Path) -> bool:
    """Return whether ``folder`` has an experiment; make it anew, empty, where it has not."""
    from vmr.replay.again import EXPERIMENT, FILES  # noqa: PLC0415 - as above

    if (folder / EXPERIMENT).is_file() and (folder / FILES).is_dir():
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return False


async def _objects(recorded: Kept, folder: Path) -> list[Path]:
    from vmr.replay.controls import objects_of  # noqa: PLC0415 - as above

    found = []
    (folder / "controls").mkdir(exist_ok=True)
    for ref in objects_of(recorded.facts.controls):
        path = folder / "controls" / ref.sha256
        path.unlink(missing_ok=True)
        await recorded.fetch(ref, path)
        found.append(path)
    return found
