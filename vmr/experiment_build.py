"""From the sections of an experiment file to VM plans: groups are counted out, entries become schedule entries, files are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vmr.experiment_entries import Resources, build_entries
from vmr.experiment_format import ExperimentSection, VmSection
from vmr.experiment_plan import VmPlan, default_uuid
from vmr.yaml_decode import Reporter
from vmr.yaml_places import Path as Place

T = TypeVar("T")
_NUMBER = re.compile(r"(?<!\$)\{n([+-][0-9]{1,9})?\}")


@dataclass(frozen=True, slots=True)
class BuiltVm:
    """A plan, and where in the file it came from."""

    plan: VmPlan
    path: Place


def build_vms(section: ExperimentSection, base: Path, folders: tuple[Path, ...], reporter: Reporter) -> list[BuiltVm]:
    """Return the VMs of ``section``, groups counted out; what is wrong with one is reported and left out of it."""
    finder = Resources(folders)
    built: list[BuiltVm] = []
    for key, given in section.vms.items():
        vm = VmSection() if given is None else given
        path = ("vms", key)
        for number in _numbers(key, vm, path, reporter):
            before = len(reporter.problems)
            built.append(BuiltVm(_plan(key, vm, number, path, base, finder, reporter), path))
            if len(reporter.problems) > before:
                break  # the other VMs of a group have the same problems
    if not section.vms:
        reporter.report(("vms",), "an experiment needs at least one VM; add one")
    return built


def _numbers(key: str, vm: VmSection, path: Place, reporter: Reporter) -> list[int | None]:
    numbered = _NUMBER.search(key) is not None
    if vm.count is None:
        if numbered:
            reporter.report(path, "the name holds {n} but there is no count; say count: 3, or take {n} out")
        return [None]
    if not numbered:
        reporter.report(
            (*path, "count"), f"{vm.count} VMs of the same name; put {{n}} into the name, as in {key}-{{n}}"
        )
        return [1]
    return list(range(1, vm.count + 1))


def _plan(
    key: str,
    vm: VmSection,
    number: int | None,
    path: Place,
    base: Path,
    finder: Resources,
    reporter: Reporter,
) -> VmPlan:
    name = key if number is None else _numbered(key, number)
    section = vm if number is None else _numbered(vm, number)
    entries, resources = build_entries(section.schedule or [], (*path, "schedule"), finder, reporter)
    return VmPlan(
        name=name,
        uuid=default_uuid(name) if section.uuid is None else section.uuid,
        address=section.address,
        memory=section.memory,
        agent=None if section.agent is None else (base / section.agent).absolute(),
        managed=section.managed,
        entries=entries,
        resources=resources,
    )


def _numbered(value: T, number: int) -> T:
    """Return ``value`` with ``{n}`` replaced in all its texts, however deep; ``${n}`` is the shell's and stays."""
    result: Any = value
    if isinstance(value, str):
        result = _NUMBER.sub(lambda match: str(number + int(match[1] or 0)), value)
    elif isinstance(value, list):
        result = [_numbered(item, number) for item in value]
    elif isinstance(value, dict):
        result = {key: _numbered(item, number) for key, item in value.items()}
    elif isinstance(value, msgspec.Struct):
        changes = {field: _numbered(getattr(value, field), number) for field in value.__struct_fields__}
        result = msgspec.structs.replace(value, **changes)
    return result  # type: ignore[no-any-return]  # each branch keeps the type
