"""The examples about files of ``docs/schedules.md``, executed by a handler on a simulated guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.handler.harness import bodies, handling, publish, until
from tests.unit.schedule_document import Example, entries_of, examples
from vmr.events import EntryFinished, FileTransferred, VmStateSet
from vmr.log import AsyncLog
from vmr.testing import SimulatedHost


@pytest.mark.parametrize(
    "example",
    [*examples("file in the guest"), *examples("copy on the host")],
    ids=lambda each: f"line {each.line}",
)
async def test_an_example_with_files(log: AsyncLog, tmp_path: Path, example: Example) -> None:
    """The files that the table names have the content that it says; of copies, there are no others."""
    entries = entries_of(example.text)
    folder = tmp_path / "s"
    folder.mkdir()
    async with SimulatedHost(folder, ["vm"]) as guests:
        await publish(log, guests.sockets, {"vm": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, lambda all_: len(bodies(all_, EntryFinished)) == len(entries))
        files = guests.guests["vm"].files
        expected = {path.strip("`"): _content(content) for path, content in example.rows}
        if example.heading[0] == "file in the guest":
            found = {path: files.read(path) for path in expected}
        else:
            root = tmp_path / "h" / "transfers"
            copies = [Path(each.host_path) for each in bodies(events, FileTransferred)]
            found = {str(path.relative_to(root)): _read(path) for path in copies}
    assert found == expected
    assert "failed" not in [each.state for each in bodies(events, VmStateSet)]


def _content(cell: str) -> bytes:
    return cell.strip("`").replace("\\r", "\r").replace("\\n", "\n").encode()


def _read(path: Path) -> bytes:
    return path.read_bytes()
