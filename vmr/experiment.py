"""Experiments: what to boot, what each VM has to run and when, read from a file and checked as a whole before anything happens.

The file is YAML (reference: docs/experiments.md). `load_experiment` returns plain data that a run, a test or another tool can use,
or raises one error that lists everything wrong with the file, each problem with its line, its place and its mend.
"""

from __future__ import annotations

from pathlib import Path

from vmr import yaml_places
from vmr.errors import ExperimentFileError
from vmr.experiment_build import build_vms
from vmr.experiment_checks import check_vms
from vmr.experiment_format import ExperimentSection
from vmr.experiment_plan import Experiment, VmPlan
from vmr.yaml_decode import Reporter, decode, render_path

__all__ = ["Experiment", "VmPlan", "load_experiment", "parse_experiment"]

SHOWN_PROBLEMS = 50


def load_experiment(path: str | Path) -> Experiment:
    """Return the experiment in the file at ``path``.

    Raises `ExperimentFileError` when the file cannot be read or anything in it is wrong. Each line of the message is one problem,
    ``file:line: place: what is wrong; the mend``.
    """
    source = Path(path)
    if source.suffix in {".json", ".gz"}:
        raise ExperimentFileError(
            f"{source}: experiment files are YAML; `vmr schedule import` makes one of FIREWHEEL's schedules"
        )
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExperimentFileError(f"{source}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise ExperimentFileError(f"{source}: cannot be read: {error.strerror}") from error
    return parse_experiment(text, source)


def parse_experiment(text: str, source: Path) -> Experiment:
    """Return the experiment in ``text``. ``source`` names it in messages, and relative paths begin in its folder.

    Raises `ExperimentFileError`, as `load_experiment` does.
    """
    document = _read(text, source)
    section, problems = decode(document, ExperimentSection)
    if section is None:
        raise _failure(problems, source)
    reporter = Reporter(document, problems)
    folders = _folders(section, source, reporter)
    vms = build_vms(section, source.parent, folders, reporter)
    check_vms(vms, reporter)
    if reporter.problems:
        raise _failure(reporter.problems, source)
    return Experiment(
        name=section.name,
        description=section.description,
        start_buffer=section.start_buffer,
        end=section.end,
        failed_vms=section.failed_vms,
        files=tuple(folder.absolute() for folder in folders),
        vms=tuple(vm.plan for vm in vms),
        simulate=section.simulate,
        text=text,
        source=source,
    )


def _read(text: str, source: Path) -> yaml_places.Document:
    try:
        document = yaml_places.Document(text)
    except yaml_places.YamlError as error:
        raise _failure([error.problem], source) from error
    if isinstance(document.value, dict):
        document.value = {key: item for key, item in document.value.items() if not key.startswith("x-")}
    return document


def _folders(section: ExperimentSection, source: Path, reporter: Reporter) -> tuple[Path, ...]:
    names = [section.files] if isinstance(section.files, str) else section.files
    folders = tuple(source.parent / name for name in names)
    for folder in folders:
        if not folder.is_dir():
            reporter.report(("files",), f"the folder {folder} does not exist; make it or name another")
    return folders


def _failure(problems: list[yaml_places.Problem], source: Path) -> ExperimentFileError:
    ordered = sorted(set(problems), key=lambda problem: (problem.line, [str(step) for step in problem.path]))
    lines = [
        f"{source}:{problem.line}: {render_path(problem.path)}: {problem.text}"
        if problem.line
        else f"{source}: {problem.text}"
        for problem in ordered[:SHOWN_PROBLEMS]
    ]
    if len(ordered) > SHOWN_PROBLEMS:
        lines.append(f"{source}: and {len(ordered) - SHOWN_PROBLEMS} more problems")
    return ExperimentFileError("\n".join(lines))
