"""What an experiment file says when it is wrong: every problem, its line, its place, its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmr.errors import ExperimentFileError
from vmr.experiment import load_experiment


def problems(folder: Path, text: str) -> list[str]:
    """Return the problems of this experiment file, without its folder."""
    path = folder / "e.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ExperimentFileError) as caught:
        load_experiment(path)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def problem_of_vm(folder: Path, vm: str) -> str:
    """Return the one problem of a file whose fourth line is this VM."""
    (problem,) = problems(folder, f"name: test\nvms:\n  other: {{address: 10.0.0.1/24, uuid: u}}\n  {vm}\n")
    return problem


def problem_of_entry(folder: Path, entry: str) -> str:
    """Return the one problem of a file whose fifth line is this entry."""
    (problem,) = problems(folder, f"name: test\nvms:\n  a:\n    schedule:\n      - {entry}\n")
    return problem


def test_all_problems_are_listed_with_their_lines(tmp_path: Path) -> None:
    """One run of the check is enough to mend a file of many mistakes."""
    found = problems(
        tmp_path,
        "nme: test\n"
        "start_buffer: -1\n"
        "vms:\n"
        "  a:\n"
        "    adress: 10.0.0.1/24\n"
        "    schedule:\n"
        "      - {run: x}\n"
        "      - {at: soon, run: x}\n"
        "      - {at: 1, run: x, args: 8000}\n"
        "      - 5\n"
        "  b: 3\n",
    )
    assert found == [
        "e.yaml:1: the file: 'name' is missing; give it",
        "e.yaml:1: nme: unknown key; did you mean 'name'?",
        "e.yaml:2: start_buffer: expected a number >= 0.0",
        "e.yaml:5: vms.a.adress: unknown key; did you mean 'address'?",
        "e.yaml:7: vms.a.schedule[0]: 'at' is missing; give it",
        "e.yaml:8: vms.a.schedule[1].at: 'soon' is not a number or -inf",
        "e.yaml:9: vms.a.schedule[2].args: expected text or a list or nothing, got a whole number; put it in quotes",
        "e.yaml:10: vms.a.schedule[3]: expected a mapping, got a whole number",
        "e.yaml:11: vms.b: expected a mapping or nothing, got a whole number",
    ]


def test_rules_beyond_types_are_listed_together_too(tmp_path: Path) -> None:
    """Problems of meaning, in several VMs, come in one error."""
    found = problems(
        tmp_path,
        "name: test\nfiles: nowhere\nvms:\n"
        "  a: {schedule: [{at: 0, run: x}]}\n"
        "  b: {address: ten}\n"
        "  c: {schedule: [{at: 1, transfer: log}]}\n",
    )
    assert [line.split(": ")[0:2] for line in found] == [
        ["e.yaml:2", "files"],
        ["e.yaml:4", "vms.a.schedule[0].at"],
        ["e.yaml:5", "vms.b.address"],
        ["e.yaml:6", "vms.c.schedule[0]"],
    ]


@pytest.mark.parametrize(
    ("entry", "place", "words"),
    [
        ("{at: 0, run: x}", ".at", "barrier"),
        ("{at: -0.0, run: x}", ".at", "barrier"),
        ("{at: .nan, run: x}", ".at", "no time"),
        ("{at: 1e10, run: x}", ".at", "no time"),
        ("{at: .inf, pause: 3}", ".at", "no time"),
        ("{at: -inf, run: x}", ".at", "only for pauses"),
        ("{at: true, run: x}", ".at", "expected a number"),
        ("{at: 1}", "", "nothing to do"),
        ("{at: 1, resume: false}", "", "nothing to do"),
        ("{at: 1, run: x, pause: 2}", "", "run and pause"),
        ("{at: 1, run: ' '}", "", "executable is empty"),
        ("{at: 1, pause: 0}", ".pause", "> 0"),
        ("{at: -1, pause: 3}", "", "not a clock"),
        ("{at: 1, pause: always}", ".pause", "forever"),
        ("{at: 1, pause: 3, args: x}", ".args", "belongs to run"),
        ("{at: 1, transfer: /x, on_host: true}", ".on_host", "belongs to run"),
        ("{at: 1, transfer: /x, timeout: 5}", ".timeout", "belongs to run"),
        ("{at: 1, drop: {location: /x, content: y}, retries: 1}", ".retries", "belongs to run"),
        ("{at: 1, transfer: /x, when_lost: again}", ".when_lost", "belongs to run"),
        ("{at: 1, resume: true, nonzero_fails: true}", ".nonzero_fails", "belongs to run"),
        ("{at: 1, transfer: /x, overwrite: true}", ".overwrite", "run, script and drop"),
        ("{at: 1, run: x, timeout: 0}", ".timeout", "> 0"),
        ("{at: 1, run: x, retries: 101}", ".retries", "<= 100"),
        ("{at: 1, run: x, when_lost: retry}", ".when_lost", "again"),
        ("{at: 1, transfer: x}", "", "absolute"),
        ("{at: 1, transfer: {location: /x, interval: 0}}", ".transfer.interval", "> 0"),
        ("{at: 1, transfer: {location: /x, destination: y}}", ".transfer.destination", "not absolute"),
        ("{at: 1, drop: {location: x, content: y}}", ".drop.location", "absolute"),
        ("{at: 1, drop: {location: /x}}", ".drop", "content or resource"),
        ("{at: 1, drop: {location: /x, content: y, resource: z}}", ".drop", "content or resource"),
        ("{at: 1, drop: {content: y}}", ".drop", "no location"),
        ("{at: 1, drop: []}", "", "nothing to do"),
        ("{at: 1, script: gone.sh}", ".script", "not a file in"),
        ("{at: 1, script: e.yml}", ".script", "did you mean 'e.yaml'?"),
        ("{at: 1, script: ../e.yaml}", ".script", "without '..'"),
        ("{at: 1, script: /etc/passwd}", ".script", "relative"),
        ("{at: 1, run: x, files: [gone]}", ".files[0].resource", "not a file in"),
        ("{at: 1, run: x, files: [{location: x, contents: y}]}", ".files[0].contents", "did you mean 'content'?"),
        ('{at: 1, run: x, files: [{location: "a\\0b", content: y}]}', "", "NUL"),
        ('{at: 1, run: x, args: ["a\\0b"]}', "", "NUL"),
        ('{at: 1, run: "x\\0"}', "", "NUL"),
        ('{at: 1, transfer: "/x\\0"}', "", "NUL"),
    ],
)
def test_wrong_entry(tmp_path: Path, entry: str, place: str, words: str) -> None:
    """Each rule of an entry is told at the key that breaks it."""
    problem = problem_of_entry(tmp_path, entry)
    assert problem.startswith(f"e.yaml:5: vms.a.schedule[0]{place}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("vm", "place", "words"),
    [
        ("b: {address: 10.0.0.1/24}", "vms.b.address", "also the address of other"),
        ("b: {address: 10.0.0.1/16}", "vms.b.address", "also the address of other"),
        ("b: {address: 10.0.0.2}", "vms.b.address", "10.0.0.1/24"),
        ("b: {address: 10.0.0.0/24}", "vms.b.address", "network's own"),
        ("b: {address: 10.0.0.255/24}", "vms.b.address", "broadcast"),
        ('b: {address: "fd00::1/64"}', "vms.b.address", "IPv4"),
        ("b: {uuid: u}", "vms.b.uuid", "also the uuid of other"),
        ("b: {memory: 64}", "vms.b.memory", ">= 96"),
        ("b: {memory: big}", "vms.b.memory", "whole number"),
        (f"b: {{agent: /{'x' * 120}}}", "vms.b.agent", "longer than a socket's path"),
        ("b: {managed: false, schedule: [{at: 1, run: x}]}", "vms.b.managed", "runs no schedule"),
        ("b: {schedule: [{at: 1, run: x, id: i}, {at: 2, run: x, id: i}]}", "vms.b.schedule[1].id", "already the id"),
        ("other: {}", "vms.other", "already given in line 3"),
        ('"b\\n": {}', "vms.'b\\n'", "cannot name a VM"),
        ('"": {}', "vms.''", "cannot name a VM"),
        ("3: {}", "vms", "put it in quotes"),
        ("b: {count: 2}", "vms.b.count", "put {n} into the name"),
        ("'b-{n}': {}", "vms.b-{n}", "no count"),
        ("'b-{n}': {count: 0}", "vms.b-{n}.count", ">= 1"),
        ("'b-{n}': {count: 2, address: 10.0.0.9/24}", "vms.b-{n}.address", "put {n} into it"),
        ("'b-{n}': {count: 2, schedule: [{at: 0, run: x}]}", "vms.b-{n}.schedule[0].at", "barrier"),
    ],
)
def test_wrong_vm(tmp_path: Path, vm: str, place: str, words: str) -> None:
    """Each rule of a VM is told at the key that breaks it, once even for a group."""
    problem = problem_of_vm(tmp_path, vm)
    assert problem.startswith(f"e.yaml:4: {place}: ")
    assert words in problem


def test_group_that_counts_out_to_a_taken_name(tmp_path: Path) -> None:
    """A name that a group makes is as unique as any other."""
    (problem,) = problems(tmp_path, "name: test\nvms:\n  a-1:\n  'a-{n}': {count: 2}\n")
    assert "'a-1' is taken twice" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nvms: {}\n", "at least one VM"),
        ("name: x\n", "'vms' is missing"),
        ("vms: {a: }\n", "'name' is missing"),
        ("just words\n", "expected a mapping"),
        ("", "empty"),
        ("name: x\nvms: [\n", "not valid YAML"),
    ],
)
def test_wrong_document(tmp_path: Path, text: str, words: str) -> None:
    """A file that is no experiment says what is missing."""
    assert any(words in line for line in problems(tmp_path, text))


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and foreign bytes are errors of the same kind."""
    with pytest.raises(ExperimentFileError, match="No such file"):
        load_experiment(tmp_path / "none.yaml")
    with pytest.raises(ExperimentFileError, match="directory"):
        load_experiment(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ExperimentFileError, match="byte 9 is not UTF-8"):
        load_experiment(tmp_path / "latin.yaml")


@pytest.mark.parametrize("name", ["schedules.json", "schedules.json.gz"])
def test_schedules_of_firewheel_are_pointed_to_the_import(name: str) -> None:
    """Who gives schedules where an experiment belongs is told the command for them."""
    with pytest.raises(ExperimentFileError, match="vmr schedule import"):
        load_experiment(name)


def test_very_many_problems_are_cut(tmp_path: Path) -> None:
    """The first problems are shown and the rest are counted."""
    entries = "".join("      - {at: 0, run: x}\n" for _ in range(120))
    found = problems(tmp_path, f"name: x\nvms:\n  a:\n    schedule:\n{entries}")
    assert len(found) == 51
    assert found[-1].endswith("and 70 more problems")
