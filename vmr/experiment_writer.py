"""Experiments written as experiment files: readable YAML that reads back as the same experiment."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec
import yaml

from vmr.errors import InvalidInputError
from vmr.experiment_format import EntrySection, ExperimentSection, FileSection, TransferSection, VmSection
from vmr.experiment_plan import Experiment, VmPlan, default_uuid
from vmr.schedule import Entry, EntryFile, default_id
from vmr.yaml_places import plain_is_text

_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def to_yaml(experiment: Experiment, base: Path | None = None) -> str:
    """Return ``experiment`` as an experiment file that lies in the folder ``base`` (by default the one it came from).

    Read back from there, it is the same experiment, except for its text and source. Groups are written out VM by VM. Raises
    `InvalidInputError` for an entry that the format cannot say, such as one with a file that is only in the object store.
    """
    if base is None:
        base = Path.cwd() if experiment.source is None else experiment.source.parent
    folders = [_folder(folder, base.absolute()) for folder in experiment.files]
    section = ExperimentSection(
        name=experiment.name,
        description=experiment.description,
        start_buffer=experiment.start_buffer,
        end=experiment.end,
        failed_vms=experiment.failed_vms,
        files=folders[0] if len(folders) == 1 else folders,
        vms={vm.name: _vm(vm) for vm in experiment.vms},
        simulate=experiment.simulate,
    )
    return _dump(_plain(section))


def _plain(value: Any) -> Any:
    """Return ``value`` as plain data without the fields that have their default."""
    if isinstance(value, msgspec.Struct):
        given = {name: (getattr(value, name), default) for name, default in _defaults(type(value)).items()}
        return {name: _plain(item) for name, (item, default) in given.items() if item != default}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the default of each field, once per type: asking msgspec takes longer than writing a whole entry."""
    factories = {field.name: field.default_factory for field in msgspec.structs.fields(kind)}
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {name: defaults[name] if make is msgspec.NODEFAULT else make() for name, make in factories.items()}


def _folder(folder: Path, base: Path) -> str:
    return folder.relative_to(base).as_posix() if folder.is_relative_to(base) else str(folder)


def _vm(vm: VmPlan) -> VmSection:
    taken: set[str] = set()
    usual_ids = all(default_id(entry.start_time, entry.name, taken) == entry.id for entry in vm.entries)
    return VmSection(
        uuid=None if vm.uuid == default_uuid(vm.name) else vm.uuid,
        address=vm.address,
        memory=vm.memory,
        agent=None if vm.agent is None else str(vm.agent),
        managed=vm.managed,
        schedule=[_entry(entry, usual_ids) for entry in vm.entries] or None,
    )


def _entry(entry: Entry, usual_id: bool) -> EntrySection:  # noqa: FBT001  # private, and one of two
    parts = [
        entry.executable is not None or bool(entry.files),
        entry.transfer is not None,
        entry.pause is not None,
        entry.resume,
    ]
    if sum(parts) != 1:
        raise InvalidInputError(
            f"entry {entry.id!r}: does several things at once; an experiment file has an entry for each"
        )
    files = [_file(file, entry) for file in entry.files]
    script = files.pop(0).resource if files and _is_script(entry) else None
    running = entry.executable is not None
    return EntrySection(
        at=entry.start_time,
        id=None if usual_id else entry.id,
        run=entry.executable if script is None else None,
        script=script,
        args=entry.arguments or None,
        files=[_short(file) for file in files] if running else [],
        drop=None if running or not files else files[0] if len(files) == 1 else files,
        transfer=_transfer(entry),
        pause=None if entry.pause is None else entry.pause.duration or "forever",
        resume=entry.resume,
        ignore_failure=entry.ignore_failure,
        on_host=entry.on_host,
        timeout=entry.timeout,
        retries=entry.retries,
        when_lost=entry.when_lost,
        nonzero_fails=entry.nonzero_fails,
        overwrite=entry.overwrite,
    )


def _is_script(entry: Entry) -> bool:
    first = entry.files[0]
    return (
        first.resource is not None
        and first.executable
        and first.location == entry.executable == PurePosixPath(first.resource).name
    )


def _file(file: EntryFile, entry: Entry) -> FileSection:
    if file.object is not None:
        raise InvalidInputError(
            f"entry {entry.id!r}: file {file.location!r} is only in the object store; fetch it first"
        )
    return FileSection(location=file.location, content=file.content, resource=file.resource, executable=file.executable)


def _short(file: FileSection) -> str | FileSection:
    if file.resource is None or file.executable or file.location != PurePosixPath(file.resource).name:
        return file
    return file.resource


def _transfer(entry: Entry) -> str | TransferSection | None:
    transfer = entry.transfer
    if transfer is None:
        return None
    if transfer.interval is None and transfer.destination is None:
        return transfer.location
    return TransferSection(location=transfer.location, interval=transfer.interval, destination=transfer.destination)


class _Text(str):
    """Text that is written by the rules below."""

    __slots__ = ()


def _dump(value: Any) -> str:
    text = yaml.dump(
        _marked(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    return str(text)


def _marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {_Text(key): _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return _Text(value) if isinstance(value, str) else value


def _fits_block(text: str) -> bool:
    """Return whether ``text`` can stand as it is, line by line; otherwise it is written in quotes with escapes."""
    lines = text.split("\n")
    return (
        bool(lines[0].strip())
        and all(
            line == line.rstrip() and line.replace("\t", "").isprintable() and line == line.lstrip("\ufeff")
            for line in lines
        )
        and not lines[0][0].isspace()
    )


def _represent_text(dumper: Any, text: _Text) -> Any:
    style = None
    if "\n" in text:
        style = "|" if _fits_block(text) else '"'
    elif text == "<<" or not plain_is_text(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper: Final[Any] = type("_Dumper", (_DUMPER,), {"ignore_aliases": lambda _self, _data: True})
_Dumper.add_representer(_Text, _represent_text)
