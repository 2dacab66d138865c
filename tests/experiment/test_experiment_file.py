"""What an experiment file means when it is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmr.experiment import Experiment, load_experiment
from vmr.schedule import Entry, EntryFile, Pause, Transfer


def load(folder: Path, vms: str, head: str = "name: test\n") -> Experiment:
    """Write an experiment file with these VMs and load it."""
    path = folder / "experiment.yaml"
    path.write_text(head + "vms:\n" + vms, encoding="utf-8")
    return load_experiment(path)


def entries(folder: Path, *lines: str) -> tuple[Entry, ...]:
    """Return the entries of one VM with this schedule."""
    schedule = "".join(f"      - {line}\n" for line in lines)
    return load(folder, f"  a:\n    schedule:\n{schedule}").vms[0].entries


def test_smallest_experiment_gets_the_defaults(tmp_path: Path) -> None:
    """A name and a VM are enough."""
    experiment = load(tmp_path, "  alone:\n")
    (vm,) = experiment.vms
    assert (experiment.name, experiment.start_buffer, experiment.end) == ("test", 60.0, None)
    assert experiment.failed_vms == "wait"
    assert (vm.name, vm.address, vm.memory, vm.managed, vm.entries) == ("alone", None, 128, True, ())
    assert experiment.text.startswith("name: test\n")
    assert experiment.source == tmp_path / "experiment.yaml"


def test_settings_are_kept(tmp_path: Path) -> None:
    """Everything that a VM can say arrives in its plan."""
    vms = "  a: {uuid: u-1, address: 10.0.0.1/24, memory: 256, agent: run/qga.sock}\n  b: {managed: false}\n"
    experiment = load(tmp_path, vms, "name: test\nstart_buffer: 2.5\nend: 30\nfailed_vms: waive\n")
    a, b = experiment.vms
    assert (a.uuid, a.address, a.ip, a.memory) == ("u-1", "10.0.0.1/24", "10.0.0.1", 256)
    assert a.agent == tmp_path / "run/qga.sock"
    assert not b.managed
    assert (experiment.start_buffer, experiment.end, experiment.failed_vms) == (2.5, 30, "waive")


def test_uuid_is_derived_from_the_name(tmp_path: Path) -> None:
    """The same name has the same identity in every file, and two names have two."""
    first = load(tmp_path, "  a:\n  b:\n")
    second = load(tmp_path, "  b:\n")
    assert first.vms[1].uuid == second.vms[0].uuid
    assert first.vms[0].uuid != first.vms[1].uuid


def test_rules_of_an_entry_of_its_own(tmp_path: Path) -> None:
    """What an entry says about its end and its files arrives; left out, it is as in FIREWHEEL."""
    ruled, plain, drop = entries(
        tmp_path,
        "{at: 1, run: x, timeout: 2.5, retries: 3, when_lost: again, nonzero_fails: true, overwrite: true}",
        "{at: 2, run: x}",
        "{at: 3, drop: {location: /f, content: c}, overwrite: true}",
    )
    assert ruled == Entry("1/x", 1, "x", timeout=2.5, retries=3, when_lost="again", nonzero_fails=True, overwrite=True)
    assert plain == Entry("2/x", 2, "x")
    assert drop.overwrite


def test_each_kind_of_entry(tmp_path: Path) -> None:
    """Every kind of entry becomes the schedule entry that it says."""
    (tmp_path / "s.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    found = entries(
        tmp_path,
        "{at: -3, run: /bin/echo, args: 'hello > world'}",
        "{at: -2, script: s.sh, args: [a, b c]}",
        "{at: -1, drop: {location: /etc/x, content: text, executable: true}}",
        "{at: 1, transfer: /var/log/x}",
        "{at: 2, transfer: {location: '/var/log/*.log', interval: 5, destination: /srv/x}}",
        "{at: 3, pause: 5}",
        "{at: 0, pause: forever}",
        "{at: -inf, resume: true}",
        "{at: -.inf, pause: 2}",
    )
    assert found == (
        Entry("-3/echo", -3, executable="/bin/echo", arguments="hello > world"),
        Entry(
            "-2/s.sh",
            -2,
            executable="s.sh",
            arguments="a 'b c'",
            files=(EntryFile("s.sh", resource="s.sh", executable=True),),
        ),
        Entry("-1/files", -1, files=(EntryFile("/etc/x", content="text", executable=True),)),
        Entry("1/transfer", 1, transfer=Transfer("/var/log/x")),
        Entry("2/transfer", 2, transfer=Transfer("/var/log/*.log", interval=5, destination="/srv/x")),
        Entry("3/pause", 3, pause=Pause(5)),
        Entry("0/break", 0, pause=Pause()),
        Entry("-inf/resume", "-inf", resume=True),
        Entry("-inf/pause", "-inf", pause=Pause(2)),
    )


def test_files_of_an_entry(tmp_path: Path) -> None:
    """Text alone names a resource; its base name is where it goes."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data.bin").write_bytes(b"\0")
    lines = "{at: 1, run: tool, files: [sub/data.bin, {location: tool, content: x, executable: true}]}"
    (entry,) = entries(tmp_path, lines)
    assert entry.files == (
        EntryFile("data.bin", resource="sub/data.bin"),
        EntryFile("tool", content="x", executable=True),
    )


def test_resources_are_found_in_order_of_folders(tmp_path: Path) -> None:
    """The first folder that has a file provides it, and each VM lists the files of its own entries."""
    for folder, names in (("one", ["x"]), ("two", ["x", "y"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    vms = "  a: {schedule: [{at: 1, script: x}]}\n  b: {schedule: [{at: 1, script: y}]}\n"
    experiment = load(tmp_path, vms, "name: test\nfiles: [one, two]\n")
    assert experiment.vms[0].resources == {"x": tmp_path / "one" / "x"}
    assert experiment.vms[1].resources == {"y": tmp_path / "two" / "y"}
    assert experiment.resources == {"x": tmp_path / "one" / "x", "y": tmp_path / "two" / "y"}


def test_ids_are_time_and_name_unless_given(tmp_path: Path) -> None:
    """A clash gets a number, also with an id that somebody chose."""
    found = entries(tmp_path, "{at: 1, run: x}", "{at: 1, run: x}", "{at: 5, run: x, id: 1/x_1}", "{at: 1.5, run: x}")
    assert [entry.id for entry in found] == ["1/x", "1/x_2", "1/x_1", "1.5/x"]


def test_group_counts_out(tmp_path: Path) -> None:
    """``{n}`` is the number wherever it stands, with an offset if asked for, and the shell's ``${n}`` stays."""
    group = (
        "  c-{n}:\n    count: 3\n    address: 10.0.{n-1}.{n+10}/24\n    schedule:\n"
        '      - {at: 1, run: echo, args: "{n} ${n} {m} {n}{n+1}"}\n'
        '      - {at: 2, drop: {location: "/etc/{n}", content: "{n}"}}\n'
    )
    experiment = load(tmp_path, group)
    assert [vm.name for vm in experiment.vms] == ["c-1", "c-2", "c-3"]
    assert [vm.address for vm in experiment.vms] == ["10.0.0.11/24", "10.0.1.12/24", "10.0.2.13/24"]
    assert experiment.vms[1].entries[0].arguments == "2 ${n} {m} 23"
    assert experiment.vms[2].entries[1].files == (EntryFile("/etc/3", content="3"),)


def test_braces_outside_groups_stay(tmp_path: Path) -> None:
    """A VM that is not counted keeps its texts as they are."""
    (entry,) = entries(tmp_path, '{at: 1, run: awk, args: "{n}"}')
    assert entry.arguments == "{n}"


def test_common_parts_under_x_keys(tmp_path: Path) -> None:
    """Keys of the top level that begin with x- are the author's own, for anchors."""
    head = "name: test\nx-common: &common\n  memory: 256\n"
    experiment = load(tmp_path, "  a: {<<: *common}\n  b: {<<: *common, memory: 300}\n", head)
    assert [vm.memory for vm in experiment.vms] == [256, 300]


def test_non_ascii_text_is_kept(tmp_path: Path) -> None:
    """Names, arguments and contents are any text."""
    experiment = load(tmp_path, "  größe: {schedule: [{at: 1, run: echo, args: 'žluťoučký 🐎'}]}\n")
    assert experiment.vms[0].name == "größe"
    assert experiment.vms[0].entries[0].arguments == "žluťoučký 🐎"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_does_not_matter(tmp_path: Path, encoding: str) -> None:
    """A file saved by an editor that writes a byte order mark is the same file."""
    path = tmp_path / "e.yaml"
    path.write_text("name: test\nvms: {a: }\n", encoding=encoding)
    assert load_experiment(path).name == "test"
