"""The log files of one VM: whole lines, whatever a guest writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmr import vm_log
from vmr.events import EntryFailed, EntryFinished, EntryLost, OutputCaptured, StreamName, VmStateSet
from vmr.vm_log import VmLog


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Iterator[VmLog]:
    files = VmLog(tmp_path / "logs", "vm1")
    yield files
    files.close()
    files.close()


def output(piece: bytes, offset: int = 0, stream: StreamName = "stdout") -> OutputCaptured:
    """Return an event with bytes that a program wrote."""
    return OutputCaptured(
        server_uuid="u", entry="e", attempt=1, stream=stream, offset=offset, size=len(piece), data=piece
    )


def lines(files: VmLog) -> list[dict[str, Any]]:
    """Return the lines of the JSON file."""
    return [json.loads(line) for line in files.json_file.read_text(encoding="utf-8").split("\n") if line]


FINISHED = EntryFinished(server_uuid="u", entry="e", attempt=1, exit_code=0)


def test_lines_that_were_cut(files: VmLog) -> None:
    """A JSON line in three events is one line; the rest of a stream is logged when its attempt ends."""
    for piece in (b'{"a": "caf\xc3', b"\xa9", b'"}\nno line', b" end"):
        files.take(output(piece))
    files.take(output(b"other\n", stream="stderr"))
    assert [line.get("a", line.get("msg")) for line in lines(files)] == ["café", "other"]
    files.take(FINISHED)
    files.take(FINISHED)
    assert [line.get("a", line.get("msg")) for line in lines(files)] == ["café", "other", "no line end"]
    assert [line["vmr"]["stream"] for line in lines(files)] == ["stdout", "stderr", "stdout"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "5"),
        ("[1, 2]", "[1, 2]"),
        ("null", "null"),
        ('"x"', '"x"'),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
        ('{"a": NaN}', '{"a": NaN}'),
        ("windows\r", "windows"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_no_object_is_a_message(files: VmLog, text: str, message: str) -> None:
    """JSON of another kind, or too deep, or none at all, ends nothing (FIREWHEEL's defect 2)."""
    files.write_json(text + "\n")
    assert [line["msg"] for line in lines(files)] == [message]


def test_objects_are_kept_as_they_are(files: VmLog) -> None:
    """Numbers of any length, separators within strings, and the program's own timestamp; `vmr` is vmr's."""
    number = "1" * 5000
    files.write_json(f'{{"n": {number}, "s": "a\u2028b", "timestamp": 1, "vmr": "faked"}}')
    text = files.json_file.read_text(encoding="utf-8")
    assert text == f'{{"timestamp":1,"n":{number},"s":"a\u2028b","vmr":{{"vm":"vm1"}}}}\n'


def test_lines_without_an_end(files: VmLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are logged in pieces, so that no guest fills the handler's memory."""
    monkeypatch.setattr(vm_log, "LONGEST_LINE", 10)
    for _ in range(3):
        files.take(output(b"xxxxxx"))
    assert [line["msg"] for line in lines(files)] == ["x" * 12]


def test_terminals_are_not_controlled(files: VmLog) -> None:
    """What a guest writes cannot clear the screen of who reads the text file, or fake a line in it."""
    files.take(output(b"\x1b[2J\rtext\ttab\xff\n"))
    assert files.text_file.read_text(encoding="utf-8").endswith(r"e 1 stdout \x1b[2J\rtext" + "\ttab\\xff\n")


def test_events_in_words(files: VmLog) -> None:
    """States, failures and losses are said; nonzero exit codes are warnings."""
    files.take(VmStateSet(server_uuid="u", state="failed", reason="why"))
    files.take(EntryFailed(server_uuid="u", entry="e", attempt=1, error="no file"))
    files.take(EntryLost(server_uuid="u", entry="e", attempt=2, reason="went down"))
    files.take(EntryFinished(server_uuid="u", entry="e", attempt=3, exit_code=4))
    text = files.text_file.read_text()
    said = (
        "INFO state failed why",
        "ERROR e: attempt 1: no file",
        "2: went down",
        "WARNING e: attempt 3 finished with 4",
    )
    assert all(words in text for words in said)


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "..", "nul\0"])
def test_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    """The files stay in their folder."""
    files = VmLog(tmp_path / "logs", name)
    files.write_json({"object": object})
    files.close()
    assert {path.parent for path in (files.text_file, files.json_file)} == {tmp_path / "logs"}
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    assert lines(files)[0]["vmr"] == {"vm": name}
