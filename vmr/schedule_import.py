"""FIREWHEEL's schedules as experiments.

An export (`vmr.firewheel_json`) carries no resource files: those are looked up in folders that the caller names. What does several
things in one entry becomes one entry for each, in FIREWHEEL's order.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from vmr.errors import ExperimentFileError, InvalidInputError
from vmr.experiment_checks import name_problem
from vmr.experiment_entries import Resources
from vmr.experiment_plan import Experiment, VmPlan, default_uuid
from vmr.firewheel_json import Datum, Row, parse, read_text, rows_by_vm
from vmr.schedule import Entry, EntryFile, Pause, Transfer, check_entry, default_id

Missing: TypeAlias = Literal["error", "placeholder"]

SHOWN_PROBLEMS: Final = 50
_CUT: Final = 83  # 80 characters and "...": how the public exports shorten content


def import_schedule(
    path: str | Path,
    *,
    resources: Sequence[Path] = (),
    missing: Missing = "error",
    name: str | None = None,
    start_buffer: float = 60.0,
    end: float | None = None,
) -> Experiment:
    """Return the experiment that runs the schedules in the file at ``path``.

    ``resources`` are folders in which the schedules' files are looked up, in order. A file that is in none of them is an error, or
    with ``missing="placeholder"`` a small script of its name that says so and ends with exit code 0. ``name`` is the experiment's
    name, by default the file's. ``start_buffer`` and ``end`` are seconds, as in an experiment file. Raises `ExperimentFileError` with
    one line per problem.
    """
    source = Path(path)
    text = read_text(source)
    importer = _Importer(source, tuple(resources), missing)
    vms = tuple(importer.plan(vm, rows) for vm, rows in rows_by_vm(parse(text, source), source).items())
    importer.finish()
    stem = source.name.removesuffix(".gz").removesuffix(".json").removesuffix(".pickle")
    return Experiment(
        name=name or stem or "imported",
        description=f"Imported from the FIREWHEEL schedules in {source.name}.",
        start_buffer=start_buffer,
        end=end,
        files=tuple(folder.absolute() for folder in resources),
        vms=vms,
        text=text,
        source=source,
    )


def cut_contents(experiment: Experiment) -> int:
    """Return how many file contents of ``experiment`` look as if the export had cut them (80 characters and ``...``)."""
    files = (file for vm in experiment.vms for entry in vm.entries for file in entry.files)
    return sum(len(file.content or "") == _CUT and (file.content or "").endswith("...") for file in files)


class _Importer:
    """Turns rows into plans and gathers what is wrong with them."""

    def __init__(self, source: Path, folders: tuple[Path, ...], missing: Missing) -> None:
        self._source = source
        self._folders = folders
        self._finder = Resources(folders)
        self._missing = missing
        self._problems: list[str] = []
        self._absent: dict[str, list[str]] = {}

    def plan(self, vm: str, rows: list[tuple[str, Any]]) -> VmPlan:
        """Return the plan of ``vm``; what is wrong is kept for `finish`."""
        problem = name_problem(vm)
        if problem:
            self._problems.append(problem)
        taken: set[str] = set()
        resources: dict[str, Path] = {}
        entries: list[Entry] = []
        for place, raw in rows:
            for entry in self._entries(raw, place, vm, resources):
                identity = default_id(entry.start_time, entry.name, taken)
                entries.append(msgspec.structs.replace(entry, id=identity))
        return VmPlan(name=vm, uuid=default_uuid(vm), entries=tuple(entries), resources=resources)

    def finish(self) -> None:
        """Raise the error that lists every problem, if there is any."""
        where = " or ".join(str(folder) for folder in self._folders) or "any folder, for none was named"
        for resource, vms in self._absent.items():
            self._problems.append(
                f"file {resource!r} ({len(vms)} entries, first of VM {vms[0]!r}) is not in {where}; "
                "name the folder that has it (--resources) or let a placeholder stand for it (--missing placeholder)"
            )
        if self._problems:
            shown = [f"{self._source}: {problem}" for problem in self._problems[:SHOWN_PROBLEMS]]
            if len(self._problems) > SHOWN_PROBLEMS:
                shown.append(f"{self._source}: and {len(self._problems) - SHOWN_PROBLEMS} more problems")
            raise ExperimentFileError("\n".join(shown))

    def _entries(self, raw: Any, place: str, vm: str, resources: dict[str, Path]) -> list[Entry]:
        try:
            row = msgspec.convert(raw, Row)
            entries = self._split(row, vm, resources)
            for entry in entries:
                check_entry(entry)
            msgspec.json.encode(entries)  # refuses lone surrogates, which JSON can spell and no event can carry
        except (msgspec.ValidationError, InvalidInputError, UnicodeEncodeError) as error:
            self._problems.append(f"{place}: {str(error).removeprefix('entry ')}")
            return []
        return entries

    def _split(self, row: Row, vm: str, resources: dict[str, Path]) -> list[Entry]:
        """Return the row as entries that do one thing each, in FIREWHEEL's order: run, copy out, hold."""
        time = _start_time(row.start_time)
        data = row.data or []
        arguments = row.arguments if isinstance(row.arguments, str) else " ".join(row.arguments or [])
        transfers = [datum for datum in data if datum.content is None and datum.filename is None and not datum.resume]
        files = tuple(self._file(datum, vm, resources) for datum in data if datum.content is not None or datum.filename)
        entries = [Entry(id="", start_time=time, transfer=_transfer(datum)) for datum in transfers]
        if row.executable or files:
            entries.insert(0, Entry("", time, executable=row.executable or None, arguments=arguments, files=files))
        if row.pause is not None and row.pause is not False:
            entries.append(Entry(id="", start_time=time, pause=_pause(row.pause)))
        if any(datum.resume for datum in data):
            entries.append(Entry(id="", start_time=time, resume=True))
        if not entries:
            raise InvalidInputError("nothing to do: no executable, no data and no pause; take the row out")
        flags = {"ignore_failure": row.ignore_failure, "on_host": row.on_host}
        return [msgspec.structs.replace(entry, **flags) for entry in entries]

    def _file(self, datum: Datum, vm: str, resources: dict[str, Path]) -> EntryFile:
        location = datum.location or ""
        if datum.filename is None:
            return EntryFile(location, content=datum.content, executable=datum.executable)
        if datum.content is not None:
            raise InvalidInputError(f"file {location!r}: has both content and filename; it can have one")
        found = self._finder.find(datum.filename)
        if isinstance(found, Path):
            resources[datum.filename] = found
            return EntryFile(location, resource=datum.filename, executable=datum.executable)
        if self._missing == "error":
            self._absent.setdefault(datum.filename, []).append(vm)
        return EntryFile(
            location, content=placeholder(datum.filename, executable=datum.executable), executable=datum.executable
        )


def placeholder(resource: str, *, executable: bool) -> str:
    """Return the content that stands for a file which the import did not find: it says so, and run as a script it succeeds."""
    words = f"placeholder: {resource} was not imported"
    return f"#!/bin/sh\necho {shlex.quote(words)} >&2\n" if executable else f"{words}\n"


def _start_time(given: float) -> int | float | Literal["-inf"]:
    if given == -math.inf:
        return "-inf"
    if math.isnan(given) or abs(given) > 1e9:
        raise InvalidInputError(f"{given} is no time; use seconds between -1e9 and 1e9")
    return given


def _transfer(datum: Datum) -> Transfer:
    if not datum.location:
        raise InvalidInputError("data without location, content and filename; say what it is")
    if datum.interval is not None and not datum.interval > 0:
        raise InvalidInputError(f"transfer of {datum.location!r}: the interval {datum.interval} is not above 0")
    return Transfer(location=datum.location, interval=datum.interval, destination=datum.destination)


def _pause(given: float) -> Pause:
    if isinstance(given, bool) or not given > 0:
        raise InvalidInputError(
            f"pause {given!r} is no length; use a number of seconds above 0, or Infinity for a break"
        )
    return Pause(None if given == math.inf else given)
