"""Reports as files: whole or not there, the same for the same record, with nothing of a guest's that acts."""

from __future__ import annotations

import base64
import errno
import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.readmodel.recorded_run import recorded_run
from tests.report import records
from vmr import events
from vmr.cli import main
from vmr.errors import DataError, InvalidInputError
from vmr.events import KnownBody
from vmr.projections import Query, load_questions
from vmr.projector import Projector
from vmr.report import answers, write_report

_EMBEDDED = re.compile(r'<script type="application/octet-stream" id="([^"]+)">([^<]*)</script>')


def embedded(report: Path) -> dict[str, Any]:
    """Return the report's data, unpacked, by the ids of its elements."""
    found = _EMBEDDED.findall(report.read_text(encoding="utf-8"))
    return {name: msgspec.json.decode(gzip.decompress(base64.b64decode(packed))) for name, packed in found}


@pytest.fixture
def small_record(tmp_path: Path) -> Path:
    """Return the read model of a rehearsal and a small run, in which everything happens once."""
    projector = Projector(tmp_path / "run.duckdb")
    projector.apply(recorded_run())
    projector.close()
    return tmp_path / "run.duckdb"


def test_the_same_record_gives_the_same_bytes(large_record: Path, large_report: Path, tmp_path: Path) -> None:
    """A hash of a report can be published."""
    write_report(large_record, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == large_report.read_bytes()


def test_everything_is_in_it(large_report: Path) -> None:
    """3,003 VMs, 17,017 entries, and what each of their executions wrote, in a file that fits into an email."""
    data = embedded(large_report)
    record = data.pop("record")
    assert (len(record["vms"]), len(record["entries"]), len(record["attempts"])) == (3003, 17017, 17017)
    assert sum(len(part) for part in data.values()) == 17012
    assert [vm[0] for vm in record["vms"][:3]] == ["host-1", "host-2", "host-4"]
    assert large_report.stat().st_size < 2_000_000


def test_outcomes_are_told_apart(small_record: Path, tmp_path: Path) -> None:
    """What ended well, badly, with a reboot, not at all or never began, each is called so; another run is not in it."""
    write_report(small_record, tmp_path / "report.html")
    record = embedded(tmp_path / "report.html")["record"]
    names = [outcome[0] for outcome in record["outcomes"]]
    found = {
        (record["vms"][record["entries"][row[0]][0]][0], record["entries"][row[0]][1], row[1]): names[row[2]]
        for row in record["attempts"]
    }
    assert found["server", "-20/reboot.sh", 1] == "rebooted"
    assert found["server", "-20/reboot.sh", 2] == "done"
    assert found["client-1", "20/long.sh", 1] == "lost"
    assert found["client-2", "25/extra.sh", 1] == "exit_code"
    assert found["client-3", "10/fetch.sh", 1] == "not_launched"
    assert "old" not in {vm[0] for vm in record["vms"]}
    never = {(vm, entry) for vm, entry, *_ in record["entries"]} - {
        tuple(record["entries"][row[0]][:2]) for row in record["attempts"]
    }
    assert {(record["vms"][vm][0], entry) for vm, entry in never} == {("client-3", "30/cleanup.sh")}
    assert record["holds"] == [[None, 15_000_000, 20_000_000]]
    assert [row[2:5] for row in record["transfers"]] == [["/var/log/access", 42, "ab" * 32]]


def test_ends_that_are_none(tmp_path: Path) -> None:
    """An execution that was killed at its timeout, one that has no end, and one that only wrote, are called what they are."""

    def started(entry: str) -> KnownBody:
        return events.EntryStarted(server_uuid="u", entry=entry, attempt=1, name="x", start_time="1")

    told: list[tuple[float, KnownBody]] = [
        (0, events.VmAdded(server_uuid="u", server_name="vm")),
        (1, started("1/killed")),
        (2, events.EntryFinished(server_uuid="u", entry="1/killed", attempt=1, exit_code=137, timed_out=True)),
        (3, started("2/open")),
        (4, records.wrote("u", "3/only", "text")),
        (5, records.wrote("nobody", "3/only", "text")),
    ]
    record = records.write(tmp_path / "run.duckdb", told)
    write_report(record, tmp_path / "report.html")
    held = embedded(tmp_path / "report.html")["record"]
    names = [outcome[0] for outcome in held["outcomes"]]
    assert [vm[0] for vm in held["vms"]] == ["nobody", "vm"]
    assert [(held["entries"][row[0]][:2], names[row[2]]) for row in held["attempts"]] == [
        ([0, "3/only"], "unknown"),
        ([1, "1/killed"], "timed_out"),
        ([1, "2/open"], "running"),
        ([1, "3/only"], "unknown"),
    ]


def test_a_full_disk_leaves_nothing(small_record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room for the whole report, there is no part of one, and the message says why."""

    def full(_: object) -> Iterator[str]:
        yield "<!DOCTYPE html>"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vmr.report._write.render", full)
    with pytest.raises(InvalidInputError, match=r"report\.html: cannot be written: No space left on device"):
        write_report(small_record, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["run.duckdb"]


def test_every_question_is_answered(small_record: Path, tmp_path: Path) -> None:
    """Each question of `vmr ask` is in the report, with its words, its answer and its SQL."""
    write_report(small_record, tmp_path / "report.html", rows=2)
    text = tmp_path.joinpath("report.html").read_text(encoding="utf-8")
    for name in load_questions():
        assert f"<code>vmr ask {name}</code>" in text
    assert "The first 2 of 4." in text
    assert "could not be answered" not in text


def test_a_question_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a record brings to an error spoils its own answer and nothing else."""
    sql = "SELECT server_name::INTEGER AS number FROM vms"
    fails = Query(name="numbers", description="Which VMs are numbers?", parameters={}, sql=sql)
    monkeypatch.setattr(answers, "load_questions", lambda: load_questions() | {fails.name: fails})
    told: list[tuple[float, KnownBody]] = [(0, events.VmAdded(server_uuid="u", server_name="noon"))]
    record = records.write(tmp_path / "run.duckdb", told)
    write_report(record, tmp_path / "report.html")
    text = tmp_path.joinpath("report.html").read_text(encoding="utf-8")
    assert text.count("It could not be answered: ") == 1
    assert all(f"<code>vmr ask {name}</code>" in text for name in load_questions())


class _Elements(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def test_the_page_holds_nothing_of_a_guest_that_acts(hostile_report: Path) -> None:
    """There is no element of a guest's, no handler, no style, and no address but those inside the page."""
    page = _Elements()
    page.feed(hostile_report.read_text(encoding="utf-8"))
    assert not page.tags & {"img", "iframe", "object", "embed", "form-data", "base", "i"}
    assert not [each for each in page.attributes if each[1].startswith("on") or each[1] in {"style", "src", "srcset"}]
    assert {value[0] for _, name, value in page.attributes if name == "href" if value != "data:,"} == {"#"}
    policy = next(value for _, name, value in page.attributes if name == "content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert sum(1 for tag, _, value in page.attributes if (tag, value) == ("script", "module")) == 1


def test_output_is_bounded(hostile_report: Path) -> None:
    """Of a line of ten million bytes there are two KiB and a number; what is no UTF-8 is shown as such."""
    data = embedded(hostile_report)
    data.pop("record")
    streams = [streams["stdout"] for part in data.values() for streams in part.values()]
    longest = max(streams, key=lambda stream: int(stream["size"]))
    assert longest["size"] == 10_000_069
    assert longest["between"] == longest["size"] - 2048
    assert len(longest["head"]) == len(longest["tail"]) == 1024
    assert any("\\xff\\xfe invalid \\xc3" in stream["head"] for stream in streams)
    assert any("\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 \\x00" in stream["head"] for stream in streams)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", hostile_report.read_text(encoding="utf-8"))
    assert hostile_report.stat().st_size < 500_000


def test_a_file_is_not_replaced_unasked(small_record: Path, tmp_path: Path) -> None:
    """What is there stays until its replacement is whole; nothing half-written is left behind."""
    path = tmp_path / "report.html"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is there already; give another name, or --force to replace it"):
        write_report(small_record, path)
    with pytest.raises(DataError):
        write_report(tmp_path / "none.duckdb", path, overwrite=True)
    assert path.read_text(encoding="utf-8") == "mine"
    write_report(small_record, path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InvalidInputError, match="there is no folder"):
        write_report(small_record, tmp_path / "none" / "report.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "run.duckdb"]


@pytest.mark.parametrize("told", [[], [(0, events.ExperimentCleared())]], ids=["empty", "cleared"])
def test_a_record_of_nothing(told: list[Any], tmp_path: Path) -> None:
    """A record without events has no report, and says so; one without VMs has."""
    record = records.write(tmp_path / "run.duckdb", told)
    if told:
        assert write_report(record, tmp_path / "report.html") > 0
        return
    with pytest.raises(DataError, match="no event yet"):
        write_report(record, tmp_path / "report.html")
    assert not list(tmp_path.glob("report*"))


def test_the_command(small_record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`vmr report FILE -o FILE` writes the report of a run and says how large it is; an earlier run is asked for by its number."""
    path = tmp_path / "report.html"
    assert main(["report", str(small_record), "-o", str(path)]) == 0
    assert f"the report is in {path} ({path.stat().st_size:,} bytes)" in capsys.readouterr().err.replace("\n", "")
    assert "<h1>simple-server</h1>" in path.read_text(encoding="utf-8")
    assert main(["report", f"{small_record}#1", "-o", str(path)]) == 2
    assert main(["report", f"{small_record}#1", "-o", str(path), "--force"]) == 0
    assert "<h1>rehearsal</h1>" in path.read_text(encoding="utf-8")
    assert main(["report", f"{small_record}#7", "-o", str(path), "--force"]) == 2
    assert "there is no run '7'" in capsys.readouterr().err
