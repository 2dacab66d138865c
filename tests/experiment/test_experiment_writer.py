"""Experiments written out read back as the same experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmr.errors import InvalidInputError
from vmr.experiment import Experiment, VmPlan, load_experiment, parse_experiment
from vmr.experiment_plan import default_uuid
from vmr.experiment_writer import to_yaml
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, Transfer, default_id

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
lines = st.lists(
    st.sampled_from(["#!/bin/sh", "\techo", "  x", "", "- a: b", "key: value", "x ", "---", "'", '"', "{n}", "…"])
)
contents = st.one_of(texts, lines.map("\n".join), lines.map(lambda some: "\n".join(some) + "\n"))
times = st.one_of(st.integers(-(10**9), -1), st.integers(1, 10**9), st.floats(0.001, 1e6), st.floats(-1e6, -0.001))
hold_times = st.one_of(st.just("-inf"), st.integers(0, 10**9), st.floats(0.001, 1e6))
plain = texts.filter(lambda text: "\0" not in text)
words = plain.filter(lambda text: bool(text.strip()))
paths = plain.map(lambda text: "/" + text)
files = st.builds(EntryFile, location=paths, content=contents, executable=st.booleans())
flags = st.booleans()


def entries() -> st.SearchStrategy[Entry]:
    """Return a strategy for entries of every kind, without ids."""
    some_files = st.lists(files, max_size=2).map(tuple)
    return st.one_of(
        st.builds(
            Entry,
            st.just(""),
            times,
            executable=words,
            arguments=plain,
            files=some_files,
            ignore_failure=flags,
            on_host=flags,
            timeout=st.none() | st.floats(0.1, 1e6),
            retries=st.integers(0, 100),
            when_lost=st.sampled_from(["continue", "again", "fail"]),
            nonzero_fails=flags,
            overwrite=flags,
        ),
        st.builds(
            Entry,
            st.just(""),
            times,
            files=st.lists(files, min_size=1, max_size=3).map(tuple),
            ignore_failure=flags,
            overwrite=flags,
        ),
        st.builds(Entry, st.just(""), times, transfer=st.builds(Transfer, paths, st.none() | st.floats(0.1, 1e6))),
        st.builds(Entry, st.just(""), hold_times, pause=st.builds(Pause, st.none() | st.floats(0.1, 1e6))),
        st.just(Entry("", "-inf", resume=True)),
    )


@st.composite
def plans(draw: st.DrawFn) -> VmPlan:
    """Draw a plan with ids as the format gives them, or ids of its own."""
    name = draw(st.text("abcž-.0 :#", min_size=1, max_size=12).filter(lambda text: text.strip() == text))
    taken: set[str] = set()
    schedule = [
        msgspec.structs.replace(entry, id=default_id(entry.start_time, entry.name, taken))
        for entry in draw(st.lists(entries(), max_size=4))
    ]
    own_id: bool = draw(st.booleans())
    if schedule and own_id:
        schedule[0] = msgspec.structs.replace(schedule[0], id="an id of its own")
    uuid = draw(st.just(default_uuid(name)) | st.uuids().map(str))
    return VmPlan(name=name, uuid=uuid, memory=draw(st.sampled_from([128, 512])), entries=tuple(schedule))


def without_origin(experiment: Experiment) -> Experiment:
    """Return the experiment without what says where it came from."""
    return msgspec.structs.replace(experiment, text="", source=None)


@given(
    vms=st.lists(plans(), min_size=1, max_size=3, unique_by=(lambda vm: vm.name, lambda vm: vm.uuid)),
    name=words,
    description=texts,
    start_buffer=st.floats(0, 1e6),
    end=st.none() | st.floats(0.1, 1e6),
    failed_vms=st.sampled_from(["wait", "waive"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_round_trip(
    vms: list[VmPlan],
    name: str,
    description: str,
    start_buffer: float,
    end: float | None,
    failed_vms: Literal["wait", "waive"],
) -> None:
    """Whatever an experiment holds, written and read it is the same."""
    experiment = Experiment(
        name=name,
        vms=tuple(vms),
        description=description,
        start_buffer=start_buffer,
        end=end,
        failed_vms=failed_vms,
    )
    text = to_yaml(experiment, Path("/nowhere"))
    assert without_origin(parse_experiment(text, Path("/nowhere/e.yaml"))) == experiment


def test_example_reads_like_a_person_wrote_it(tmp_path: Path) -> None:
    """Defaults stay unsaid, scripts are blocks, words have no quotes."""
    (tmp_path / "run.sh").touch()
    source = (
        "name: example\n"
        "files: .\n"
        "vms:\n"
        "  a:\n"
        "    address: 10.0.0.1/24\n"
        "    schedule:\n"
        "    - at: -1\n"
        "      script: run.sh\n"
        "      args: a > b\n"
        "    - at: 1\n"
        "      run: tool\n"
        "      files:\n"
        "      - run.sh\n"
        "      - location: tool\n"
        "        content: |\n"
        "          #!/bin/sh\n"
        "          echo no\n"
        "        executable: true\n"
        "    - at: 2.5\n"
        "      transfer: /var/log/x\n"
        "    - at: 3\n"
        "      pause: forever\n"
    )
    (tmp_path / "e.yaml").write_text(source, encoding="utf-8")
    assert to_yaml(load_experiment(tmp_path / "e.yaml")) == source.replace("files: .\n", "")


def test_resources_are_found_from_the_new_place(tmp_path: Path) -> None:
    """Folders of files are written as seen from where the file goes."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.sh").touch()
    source = tmp_path / "e.yaml"
    source.write_text("name: t\nfiles: files\nvms: {a: {schedule: [{at: 1, script: x.sh}]}}\n", encoding="utf-8")
    experiment = load_experiment(source)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (tmp_path, elsewhere):
        copy = folder / "copy.yaml"
        copy.write_text(to_yaml(experiment, folder), encoding="utf-8")
        assert without_origin(load_experiment(copy)) == without_origin(experiment)
    assert "files: files\n" in (tmp_path / "copy.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry("i", 1, executable="x", transfer=Transfer("/x")), "several things"),
        (Entry("i", 1, files=(EntryFile("/x", object=ObjectRef("0" * 64, 1)),)), "object store"),
    ],
)
def test_what_the_format_cannot_say_is_an_error(entry: Entry, words: str) -> None:
    """Nothing is left out in silence."""
    experiment = Experiment(name="t", vms=(VmPlan(name="a", uuid="u", entries=(entry,)),))
    with pytest.raises(InvalidInputError, match=words):
        to_yaml(experiment, Path("/nowhere"))
