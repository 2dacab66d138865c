"""An entry's files in guests of both kinds, as a driver is told to write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interface.test_abstract_driver import LINUX, WINDOWS, Scripted
from vmr.guest_files import load_files
from vmr.schedule import EntryFile
from vmr.schedule_entry import ScheduleEntry


class Writing(Scripted):
    """A scripted driver whose commands succeed, except that nothing exists before it is written."""

    def __init__(self, system: str) -> None:
        super().__init__(system)
        self.files: dict[str, Any] = {}

    def file_exists(self, path: str) -> bool | None:
        """Return whether it was written."""
        return path in self.files

    def create_directories(self, directory: str) -> bool | None:
        """Succeed."""
        return True

    def make_file_executable(self, path: str) -> bool | None:
        """Note the flag."""
        self.files[f"{path} flag"] = True
        return True

    def _write(self, filename: str, data: str, mode: str = "w") -> bool:
        self.files[filename] = data
        return True

    def write_from_file(self, filename: str, local_filename: str, mode: str = "w") -> bool:
        """Keep the bytes."""
        self.files[filename] = Path(local_filename).read_bytes()
        return True


def content(file: EntryFile) -> bytes | Path:
    """Return what is in a file."""
    if file.resource == "absent":
        raise FileNotFoundError("no file 'absent'")
    return (file.content or "stored").encode()


@pytest.fixture(name="entry")
def _entry() -> ScheduleEntry:
    entry = ScheduleEntry(-5)
    entry.set_executable("run.bat", "a b")
    entry.add_content("run.bat", "one\ntwo\r\n", executable=False)
    entry.add_file("\\data\\stored", "stored", executable=True)
    return entry


def test_windows(entry: ScheduleEntry) -> None:
    """Text gets Windows line ends (FIREWHEEL's defect 30), stored files stay, and a batch file calls the program."""
    driver = Writing(WINDOWS)
    assert load_files(driver, entry, content) == []
    folder = "\\launch\\-5\\run.bat"
    assert driver.files == {
        f"{folder}\\run.bat": "one\r\ntwo\r\n",
        "\\data\\stored": b"stored",
        "\\data\\stored flag": True,
        f"{folder}\\call_arguments.bat": f'cd /d "{folder}"\r\n"{folder}\\run.bat" a b\r\n',
    }


def test_posix(entry: ScheduleEntry) -> None:
    """Text stays as it is; no flag where none is asked for."""
    driver = Writing(LINUX)
    assert load_files(driver, entry, content) == []
    folder = "/var/launch/-5/run.bat"
    assert driver.files[f"{folder}/run.bat"] == b"one\ntwo\r\n"
    assert f"{folder}/run.bat flag" not in driver.files
    assert driver.files[f"{folder}/call_arguments.sh"].endswith("./run.bat a b\n")


def test_what_cannot_be_loaded(entry: ScheduleEntry) -> None:
    """Every problem is told, and the other files are loaded all the same."""
    entry.add_file("/x", "absent")
    driver = Writing(LINUX)
    assert load_files(driver, entry, content) == ["/x: no file 'absent'"]
    assert "/var/launch/-5/run.bat/call_arguments.sh" in driver.files
