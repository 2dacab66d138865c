"""A run's experiment, out of its record: as an experiment file, with the files that its VMs need beside it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from vmr.errors import DataError, InvalidInputError, ServerNotFoundError
from vmr.eventlog import with_entries
from vmr.experiment import load_experiment
from vmr.experiment_build import build_vms
from vmr.experiment_format import ExperimentSection
from vmr.experiment_plan import Experiment, VmPlan
from vmr.experiment_writer import to_yaml
from vmr.log import connect_async
from vmr.record import as_file, is_archive
from vmr.replay.facts import TYPES, Facts
from vmr.replay.selection import Wanted
from vmr.replay.source import open_source
from vmr.schedule import Entry, EntryFile, ObjectRef
from vmr.settings import Settings
from vmr.yaml_decode import Reporter, decode
from vmr.yaml_places import Document, YamlError

EXPERIMENT: Final = "experiment.yaml"
FILES: Final = "files"
_OBJECTS: Final = "objects"
Fetch = Callable[[ObjectRef, Path], Awaitable[None]]


class Kept(msgspec.Struct, frozen=True):
    """A run that can be run again: what is known of it, and how to get at its objects.

    Attributes:
        facts: its VMs, schedules and resources, and what operators did.
        text: its experiment file, None when it had none.
        fetch: writes an object to a path.

    """

    facts: Facts
    text: str | None
    fetch: Fetch


class _Archived:
    """The objects of an archive, as a log has them."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive

    async def get_object(self, ref: ObjectRef) -> bytes:
        return bytes(self._archive.object(ref))

    async def fetch_object(self, ref: ObjectRef, path: Path) -> None:
        self._archive.extract_object(ref.sha256, path)


@contextlib.asynccontextmanager
async def _objects(source: str | None, settings: Settings) -> AsyncIterator[Any]:
    """Yield where the objects of ``source`` are: its archive, or the log."""
    file, _ = as_file(source)
    if file is None:
        try:
            async with connect_async(settings=settings, create=False) as log:
                yield log
        except ServerNotFoundError as error:
            raise ServerNotFoundError(f"{error}; or give an archive") from error
        return
    if not is_archive(file):
        raise InvalidInputError(f"{file} is the file of a read model, which holds no resources: give an archive")
    from vmr.archive import open_archive  # noqa: PLC0415 - it opens read models in turn

    with open_archive(file) as archive:
        yield _Archived(archive)


@contextlib.asynccontextmanager
async def kept(source: str | None, settings: Settings) -> AsyncIterator[Kept]:
    """Yield what can be run again of the run ``source`` (see `vmr.record.open_run`; the file of a read model will not do).

    Raises `InvalidInputError` for a run that was never launched, or has no VMs.
    """
    async with _objects(source, settings) as objects, open_source(source, settings, folded=False) as events:
        facts = Facts()
        async with aclosing(events.read(Wanted(types=TYPES))) as batches:
            async for batch in batches:
                for recorded in batch:
                    facts.apply(await with_entries(objects, recorded))
        if facts.launched is None or not facts.vms:
            raise InvalidInputError("this run was never launched, or had no VMs: there is nothing to run again")
        ref = facts.launched.experiment
        text = None if ref is None else (await objects.get_object(ref)).decode("utf-8", "replace")
        yield Kept(facts, text, objects.fetch_object)


def experiment_of(run: Kept, folder: Path) -> Experiment:
    """Return the experiment of ``run``, with its files in ``folder``; nothing is written.

    What the schedules say is taken from the record; what it does not say (addresses with their prefixes, memory, what simulated
    programs do) from the run's experiment file.
    """
    facts = run.facts
    assert facts.launched is not None
    section, plans = _read(run.text)
    vms = tuple(
        _plan(plans.get(added.server_name), added, _entries_of(facts, added.server_name))
        for added in facts.vms.values()
    )
    return Experiment(
        name=facts.launched.name or "rerun",
        vms=vms,
        description="" if section is None else section.description,
        start_buffer=facts.launched.start_buffer,
        end=None if section is None else section.end,
        failed_vms=facts.launched.failed_vms,
        files=(folder / FILES,),
        simulate={} if section is None else section.simulate,
        source=folder / EXPERIMENT,
    )


def _read(text: str | None) -> tuple[ExperimentSection | None, dict[str, VmPlan]]:
    """Return what an experiment file says besides schedules; nothing where it cannot be read any more."""
    if text is None:
        return None, {}
    try:
        document = Document(text)
    except YamlError:
        return None, {}
    if isinstance(document.value, dict):
        document.value = {key: item for key, item in document.value.items() if not key.startswith("x-")}
    section, _ = decode(document, ExperimentSection)
    if section is None:
        return None, {}
    bare = {
        name: None if vm is None else msgspec.structs.replace(vm, schedule=None) for name, vm in section.vms.items()
    }
    reporter = Reporter(document, [])
    built = build_vms(msgspec.structs.replace(section, vms=bare), Path("/"), (), reporter)
    return section, {vm.plan.name: vm.plan for vm in built}


def _plan(given: VmPlan | None, added: Any, entries: tuple[Entry, ...]) -> VmPlan:
    address = given.address if given is not None else None
    if address is None and added.control_ip:
        address = added.control_ip if "/" in added.control_ip else f"{added.control_ip}/24"
    return VmPlan(
        name=added.server_name,
        uuid=added.server_uuid,
        address=address,
        memory=128 if given is None else given.memory,
        agent=None if given is None else given.agent,
        managed=added.state.lower() != "n/a",
        entries=entries,
    )


def _entries_of(facts: Facts, name: str) -> tuple[Entry, ...]:
    schedule = facts.schedules.get(name)
    return () if schedule is None else tuple(map(with_resources, schedule.entries))


def with_resources(entry: Entry) -> Entry:
    """Return ``entry`` with its files in the object store named as resources: an experiment file knows no objects."""
    return msgspec.structs.replace(entry, files=tuple(map(_with_resource, entry.files)))


def _with_resource(file: EntryFile) -> EntryFile:
    if file.object is None:
        return file
    return msgspec.structs.replace(file, object=None, resource=_object_name(file.object))


def _object_name(ref: ObjectRef) -> str:
    return f"{_OBJECTS}/{ref.sha256}"


def files_of(facts: Facts) -> dict[str, ObjectRef]:
    """Return the files that the run needs: resources, and objects that entries name, those of controls among them.

    Raises `InvalidInputError` for a resource whose name leads out of a folder.
    """
    found = dict(facts.resources)
    for entry in _all_entries(facts):
        for file in entry.files:
            if file.object is not None:
                found[_object_name(file.object)] = file.object
    for name in found:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or str(path) != name or name == ".":
            raise InvalidInputError(f"resource {name!r}: no file can have this name; this run cannot be run again")
    return found


def _all_entries(facts: Facts) -> Iterable[Entry]:
    for schedule in facts.schedules.values():
        yield from schedule.entries


async def write(run: Kept, file: Path) -> Experiment:
    """Write the run's experiment to ``file`` and what it needs to a folder of files beside it; return it as it reads back.

    Raises `InvalidInputError` when there is such a file or folder, when it cannot be written, or the format cannot say it; then
    nothing is left behind.
    """
    with _new(file) as folder:
        await _fetch(files_of(run.facts), run.fetch, folder / FILES)
        text = to_yaml(experiment_of(run, folder), folder)
        (folder / EXPERIMENT).write_text(text, encoding="utf-8")
        _check(run, load_experiment(folder / EXPERIMENT))
    return load_experiment(file)


@contextlib.contextmanager
def _new(file: Path) -> Iterator[Path]:
    """Yield a folder in which the experiment is written that becomes ``file``, with the folder of files beside it."""
    part = file.parent / f"{file.name}.part"
    target = file.parent / FILES
    for there in (file, target):
        if there.exists():
            raise InvalidInputError(f"{there} is there already; remove it, or give another place")
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / FILES).mkdir(parents=True)
        yield part
        (part / FILES).rename(target)
        (part / EXPERIMENT).rename(file)
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


async def _fetch(files: Mapping[str, ObjectRef], fetch: Fetch, folder: Path) -> None:
    for name, ref in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        await fetch(ref, path)


def _check(run: Kept, experiment: Experiment) -> None:
    """Raise `DataError` when the file says something else than the record."""
    for vm in experiment.vms:
        if vm.entries != _entries_of(run.facts, vm.name):
            raise DataError(
                f"the schedule of {vm.name!r} cannot be written as an experiment file; this is a defect of vmr"
            )


def name_of(run: Kept) -> str:
    """Return a name for a folder with ``run`` in it: the same for the same run."""
    launched = run.facts.launched
    assert launched is not None
    digest = hashlib.sha256(repr((run.facts.vms, run.facts.schedules, launched)).encode()).hexdigest()[:12]
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in launched.name)[:60]
    return f"{safe or 'run'}-{digest}"
