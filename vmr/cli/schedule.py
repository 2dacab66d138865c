"""``vmr schedule``: experiment files checked, FIREWHEEL's schedules imported."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from vmr.cli.context import write_file
from vmr.cli.output import print_note
from vmr.experiment import Experiment, load_experiment, parse_experiment
from vmr.experiment_writer import to_yaml
from vmr.schedule_import import cut_contents, import_schedule

app = typer.Typer(
    no_args_is_help=True, help="Check experiment files and import FIREWHEEL's schedules.", rich_markup_mode=None
)


class MissingChoice(enum.StrEnum):
    """What to do about a file that a schedule needs and no folder has."""

    ERROR = "error"
    PLACEHOLDER = "placeholder"


@app.command("check")
def check(file: Annotated[Path, typer.Argument(help="The experiment file.")]) -> None:
    """Check an experiment file, and say what is in it. Nothing is run or published."""
    experiment = load_experiment(file)
    typer.echo(f"{file}: {_summary(experiment)}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The schedules as JSON or as a pickle, plain or gzip-compressed.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the experiment file here, not to standard output.")
    ] = None,
    resources: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with the files that the schedules name; may be given several times.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    missing: Annotated[
        MissingChoice,
        typer.Option(help="What to do about a file that is in none of them: fail, or put a small script in its place."),
    ] = MissingChoice.ERROR,
    name: Annotated[str | None, typer.Option(help="Name of the experiment, by default the file's.")] = None,
    start_buffer: Annotated[
        float, typer.Option(min=0, help="Seconds between the last VM being configured and the start.")
    ] = 60.0,
    end: Annotated[
        float | None,
        typer.Option(min=0, help="Experiment time, in seconds, at which the run ends although entries go on."),
    ] = None,
) -> None:
    """Turn FIREWHEEL's schedules into an experiment file."""
    experiment = import_schedule(
        file,
        resources=resources or [],
        missing="placeholder" if missing is MissingChoice.PLACEHOLDER else "error",
        name=name,
        start_buffer=start_buffer,
        end=end or None,
    )
    folder = Path.cwd() if output is None else output.absolute().parent
    text = to_yaml(experiment, folder)
    parse_experiment(text, folder / "imported.yaml" if output is None else output)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_file(output, text)
        print_note(f"{output}: {_summary(experiment)}")
    cut = cut_contents(experiment)
    if cut:
        print_note(f"note: {_plural(cut, 'content')} of 80 characters and '...': the export has most likely cut them")


def _summary(experiment: Experiment) -> str:
    entries = sum(len(vm.entries) for vm in experiment.vms)
    resources = len(experiment.resources)
    parts = [_plural(len(experiment.vms), "VM"), _plural(entries, "entry", "entries"), _plural(resources, "resource")]
    return f"{experiment.name}: {', '.join(parts)}"


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
