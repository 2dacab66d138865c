"""FIREWHEEL's schedules, imported."""

from __future__ import annotations

import base64
import gzip
import json
import math
import pickle
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vmr.errors import ExperimentFileError
from vmr.experiment import Experiment, parse_experiment
from vmr.experiment_writer import to_yaml
from vmr.schedule import Entry, EntryFile, Pause, Transfer
from vmr.schedule_import import Missing, cut_contents, import_schedule, placeholder

SCRIPT = {"location": "set_hostname.sh", "filename": "set_hostname.sh", "executable": True}
CONTENT = {"location": "preloaded_content", "content": "{}", "executable": False}
ROWS: dict[str, Any] = {
    "host.root.net": [
        [-250, "set_hostname.sh", "host.root.net", [SCRIPT], False],
        [-201, "mv", "preloaded_content /etc/netplan/firewheel.yaml", [CONTENT], False],
        [-95, "/bin/vbash /opt/vyatta/etc/config/firewheel-config.sh", "", [], False],
        [-1, "ping", "-w 1 192.0.2.1 > NULL", None, False],
        [5, None, "", [{"location": "/var/log", "interval": 60, "destination": None}], False],
        [10, None, None, [], 60],
        [15, None, None, None, math.inf],
        [20, None, None, [{"location": "/etc/x", "content": "x"}], False],
    ],
    "empty": [],
}


def write(folder: Path, value: object, name: str = "s.json") -> Path:
    """Write ``value`` as JSON, Infinity included."""
    path = folder / name
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def imported(folder: Path, value: object, missing: Missing = "placeholder") -> Experiment:
    """Import ``value``."""
    return import_schedule(write(folder, value), missing=missing)


def row_problem(folder: Path, row: object) -> str:
    """Return the message about one wrong row."""
    with pytest.raises(ExperimentFileError) as caught:
        imported(folder, {"vm": [row]})
    return str(caught.value)


def test_rows_become_entries(tmp_path: Path) -> None:
    """Every kind of row that FIREWHEEL's model components make has its entry."""
    experiment = imported(tmp_path, ROWS)
    stub = placeholder("set_hostname.sh", executable=True)
    vm, empty = experiment.vms
    assert experiment.name == "s"
    assert (vm.name, empty.name, empty.entries) == ("host.root.net", "empty", ())
    assert vm.entries == (
        Entry(
            "-250/set_hostname.sh",
            -250,
            executable="set_hostname.sh",
            arguments="host.root.net",
            files=(EntryFile("set_hostname.sh", content=stub, executable=True),),
        ),
        Entry(
            "-201/mv",
            -201,
            executable="mv",
            arguments="preloaded_content /etc/netplan/firewheel.yaml",
            files=(EntryFile("preloaded_content", content="{}"),),
        ),
        Entry("-95/vbash", -95, executable="/bin/vbash /opt/vyatta/etc/config/firewheel-config.sh"),
        Entry("-1/ping", -1, executable="ping", arguments="-w 1 192.0.2.1 > NULL"),
        Entry("5/transfer", 5, transfer=Transfer("/var/log", interval=60)),
        Entry("10/pause", 10, pause=Pause(60)),
        Entry("15/break", 15, pause=Pause()),
        Entry("20/files", 20, files=(EntryFile("/etc/x", content="x"),)),
    )


def test_print_schedule_is_the_same_schedule(tmp_path: Path) -> None:
    """The form by time holds the same entries as the form by VM."""
    by_time: dict[str, list[dict[str, Any]]] = {}
    for vm, rows in ROWS.items():
        for time, executable, arguments, data, pause in rows:
            item = {"name": vm, "executable": executable, "arguments": arguments, "data": data, "pause": pause}
            by_time.setdefault(str(time), []).append(item)
    assert imported(tmp_path, by_time).vms == imported(tmp_path, {"host.root.net": ROWS["host.root.net"]}).vms


def test_row_that_does_several_things_is_several_entries(tmp_path: Path) -> None:
    """A row with a program, two transfers and a pause loses none of them."""
    data = [CONTENT, {"location": "/a", "interval": 5}, {"location": "/b", "interval": None}]
    entries = imported(tmp_path, {"vm": [[3, "x", "", data, 7]]}).vms[0].entries
    assert [entry.name for entry in entries] == ["x", "transfer", "transfer", "pause"]
    assert [entry.id for entry in entries] == ["3/x", "3/transfer", "3/transfer_1", "3/pause"]


def test_breaks_and_resumes_before_everything(tmp_path: Path) -> None:
    """``-Infinity`` is a time for pauses and resumes, in both forms."""
    rows = [[-math.inf, None, None, [{"resume": True}], False], [-math.inf, None, None, [], 5]]
    resume, pause = imported(tmp_path, {"vm": rows}).vms[0].entries
    assert resume == Entry("-inf/resume", "-inf", resume=True)
    assert pause == Entry("-inf/pause", "-inf", pause=Pause(5))
    by_time = {"-Infinity": [{"name": "vm", "executable": None, "data": [{"resume": True}]}]}
    assert imported(tmp_path, by_time).vms[0].entries == (resume,)


def test_resources_are_taken_from_folders(tmp_path: Path) -> None:
    """A file that is at hand is a resource; its content stays out of the entry."""
    (tmp_path / "res").mkdir()
    (tmp_path / "res" / "set_hostname.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    experiment = import_schedule(write(tmp_path, ROWS), resources=[tmp_path / "res"])
    vm = experiment.vms[0]
    assert vm.entries[0].files == (EntryFile("set_hostname.sh", resource="set_hostname.sh", executable=True),)
    assert vm.resources == {"set_hostname.sh": tmp_path / "res" / "set_hostname.sh"}


def test_missing_resources_are_told_once_each(tmp_path: Path) -> None:
    """An error names the file, how often it is needed, and both ways on."""
    rows = {f"vm{i}": [[-250, "set_hostname.sh", "", [SCRIPT], False]] for i in range(3)}
    with pytest.raises(ExperimentFileError) as caught:
        imported(tmp_path, rows, missing="error")
    (message,) = str(caught.value).splitlines()
    for words in ("'set_hostname.sh'", "3 entries", "'vm0'", "--resources", "--missing placeholder"):
        assert words in message


@pytest.mark.parametrize("name", ["set_hostname.sh", "it's; rm -rf \n$(x)"])
def test_placeholder_says_so_and_succeeds(tmp_path: Path, name: str) -> None:
    """The stub runs on any shell, names the file, and runs nothing that a file's name may spell."""
    script = tmp_path / "stub"
    script.write_text(placeholder(name, executable=True), encoding="utf-8")
    done = subprocess.run(["/bin/sh", str(script)], capture_output=True, check=True, text=True)
    assert done.stderr == f"placeholder: {name} was not imported\n"
    assert done.stdout == ""


def test_compressed_schedules(tmp_path: Path) -> None:
    """A file that is compressed is known by its first bytes."""
    path = tmp_path / "router_tree.json.gz"
    path.write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    experiment = import_schedule(path, missing="placeholder")
    assert experiment.name == "router_tree"
    assert len(experiment.vms[0].entries) == 8
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ExperimentFileError, match="damaged gzip"):
        import_schedule(path)


def test_imported_experiment_can_be_written_and_read(tmp_path: Path) -> None:
    """What is imported is an experiment file like any other."""
    experiment = imported(tmp_path, ROWS)
    again = parse_experiment(to_yaml(experiment, tmp_path), tmp_path / "e.yaml")
    assert msgspec.structs.replace(again, text="", source=None) == msgspec.structs.replace(
        experiment, text="", source=None
    )


def test_contents_that_the_export_has_cut_are_counted(tmp_path: Path) -> None:
    """Content of 80 characters and three dots has most likely lost its end."""
    cut = {"location": "/a", "content": "x" * 80 + "..."}
    assert cut_contents(imported(tmp_path, {"vm": [[1, None, "", [cut, CONTENT | {"location": "/b"}], False]]})) == 1


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_are_never_loaded(tmp_path: Path, protocol: int) -> None:
    """One of anything but schedule entries is refused by name, with the way to export JSON, and does not run."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    path = tmp_path / "schedule"
    path.write_bytes(pickle.dumps([Trap()], protocol=protocol))
    with pytest.raises(ExperimentFileError, match=r"pickle.*(pathlib|touch|getattr|Path).*refused.*print_schedule"):
        import_schedule(path)
    assert not (tmp_path / "ran").exists()


PICKLED = (  # two entries, as FIREWHEEL's own class pickles: protocol 0, so that it can be read here
    b"(lp0\nccopy_reg\n_reconstructor\np1\n(cfirewheel.vm_resource_manager.schedule_entry\nScheduleEntry\np2\n"
    b"c__builtin__\nobject\np3\nNtp4\nRp5\n(dp6\nVstart_time\np7\nI-5\nsVexecutable\np8\nV/bin/true\np9\nsVon_host\np10\nI01\n"
    b"sVignore_failure\np11\nI01\nsbag1\n(g2\ng3\nNtp12\nRp13\n(dp14\ng7\nI10\nsVpause\np15\nFinf\nsba."
)


def test_a_pickled_schedule_is_read_without_loading_it(tmp_path: Path) -> None:
    """As a file of the VM's name, compressed or not, and in the JSON that FIREWHEEL stores."""
    bare, packed = tmp_path / "host.example.pickle", tmp_path / "host.example.pickle.gz"
    bare.write_bytes(PICKLED)
    packed.write_bytes(gzip.compress(PICKLED))
    stored = tmp_path / "stored.json"
    text = base64.b64encode(PICKLED).decode()
    stored.write_text(json.dumps({"server_name": "host.example", "text": text, "ip": None}))
    for path in (bare, packed, stored):
        (vm,) = import_schedule(path).vms
        assert vm.name == "host.example"
        first, second = vm.entries
        assert (first.start_time, first.executable, first.on_host, first.ignore_failure) == (
            -5,
            "/bin/true",
            True,
            True,
        )
        assert (second.start_time, second.pause) == (10, Pause())


@pytest.mark.parametrize("text", ["gASVAAA=", "no base64!", 5, base64.b64encode(b"no pickle").decode()])
def test_a_stored_form_without_a_schedule_in_it_is_refused(tmp_path: Path, text: object) -> None:
    """A damaged pickle, no pickle, no base64, no text."""
    with pytest.raises(ExperimentFileError, match=r"pickle|base64"):
        imported(tmp_path, {"server_name": "vm", "text": text, "ip": None})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([0, "x", "", [], False], "barrier"),
        ([math.nan, "x", "", [], False], "no time"),
        ([-math.inf, "x", "", [], False], "only for pauses"),
        ([1, None, "", [], False], "nothing to do"),
        ([1, None, "", [], 0], "pause 0"),
        ([1, None, "", [], True], "pause True"),
        ([1, None, "", [], -5], "pause -5"),
        ([1, None, "", [{"location": "rel", "content": "x"}], False], "relative location"),
        ([1, "x", "", [{"location": "a", "content": "x", "filename": "y"}], False], "both"),
        ([1, "x", "", [{"interval": 5}], False], "without location"),
        ([1, "x", "", [{"location": "/a", "interval": -5}], False], "not above 0"),
        ([1, "x", "", [{"location": "a", "contents": "x"}], False], "contents"),
        (["soon", "x", "", [], False], "start_time|\\$\\[0\\]|int"),
        ([1, 5, "", [], False], "str"),
        ({"time": 1}, "name"),
        ([1, "x", "", [], False, 6], "bool"),
        ([1, "x", "", [], False, True, False, 8], "length"),
        ([1, "\ud800", "", [], False], "surrogate"),
        (5, "array"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row: object, words: str) -> None:
    """Each wrong row is told with its place in the file."""
    message = row_problem(tmp_path, row)
    assert any(word.replace("\\", "") in message for word in words.split("|"))
    assert "s.json: " in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "not an object"),
        ("{}", "not an object"),
        ('{"vm": 3}', "'vm': not a list"),
        ('{"vm": [], "vm": []}', "given twice"),
        ('{"5": [{"executable": "x"}]}', "VM's name"),
        ('{"soon": [{"name": "vm", "executable": "x"}]}', "time 'soon'"),
        ('{"": [[1, "x", "", [], false]]}', "cannot name a VM"),
        ("[" * 200_000, "nested too deep"),
        ("\x00", "not valid JSON"),
    ],
)
def test_wrong_files_are_errors_of_one_kind(tmp_path: Path, text: str, words: str) -> None:
    """Whatever the file holds, it ends with an error that says what to do."""
    path = tmp_path / "s.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ExperimentFileError, match=words):
        import_schedule(path)


def test_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A missing file, and bytes that are no text."""
    with pytest.raises(ExperimentFileError, match="No such file"):
        import_schedule(tmp_path / "none.json")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ExperimentFileError, match="UTF-8"):
        import_schedule(tmp_path / "bytes")


def test_large_schedules_take_seconds(tmp_path: Path) -> None:
    """3,000 VMs with 17,000 entries are imported, all of them."""
    rows = [[-100 - i, "mv", "a b", [CONTENT], False] for i in range(6)]
    experiment = imported(tmp_path, {f"vm{i}": rows for i in range(3000)})
    assert sum(len(vm.entries) for vm in experiment.vms) == 18_000
