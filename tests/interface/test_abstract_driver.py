"""What `AbstractDriver` does with a driver's methods alone: Windows guests, failures, working directories."""

from __future__ import annotations

import inspect
import math
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from tests.interface.agents import LOG
from tests.interface.other_driver import OtherDriver
from vmr.abstract_driver import AbstractDriver
from vmr.errors import InvalidInputError
from vmr.schedule_entry import ScheduleEntry


class Scripted(OtherDriver):
    """A driver without a guest: it says what was run and gives the answers that a test has put there.

    There is no Windows guest to test against here; what this shows is which commands one would get.
    """

    def __init__(self, system: str, *codes: int | None, output: str = "") -> None:
        super().__init__({"path": "/agent"}, LOG)
        self.system = system
        self.codes = list(codes)
        self.output = output
        self.ran: list[list[str]] = []
        self.written: list[tuple[str, str, str]] = []

    def get_os(self) -> str:
        """Return the scripted system."""
        return self.system

    def execute(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Keep the command; its process ends with the next code, and does not start when that is None."""
        self.ran.append([path, *(arg or [])])
        code = self.codes.pop(0)
        pid = len(self.ran)
        self.output_cache[pid] = {"exited": True, "exitcode": code, "stdout": self.output}
        return None if code is None else pid

    def exec_status(self, pid: int) -> dict[str, Any]:
        """Return what `execute` put there."""
        return self.output_cache[pid]

    def _write(self, filename: str, data: str, mode: str = "w") -> bool:
        self.written.append((filename, data, mode))
        return True


LINUX = "Debian GNU/Linux 12 (bookworm)"
WINDOWS = "Microsoft Windows 10 Enterprise"


def test_every_abstract_method_says_so() -> None:
    """Calling one through the class raises `NotImplementedError`."""
    driver: Any = Scripted(LINUX)
    for name in AbstractDriver.__abstractmethods__:
        method = getattr(AbstractDriver, name)
        given = [driver] if "self" in inspect.signature(method).parameters else []
        wanted = [each for each in inspect.signature(method).parameters.values() if each.default is each.empty]
        with pytest.raises(NotImplementedError):
            method(*given, *["x"] * (len(wanted) - len(given)))


def test_windows_commands() -> None:
    """Files of a Windows guest are looked after with cmd.exe, one path being one argument."""
    driver = Scripted(WINDOWS, 1, 0, 0, 0, 0, output="\\a b\\c.txt\r\n\\a b\\d.txt\r\n")
    assert driver.create_directories("\\launch\\a b") is True
    assert driver.file_exists("\\launch\\*.txt") is True
    assert driver.delete_file("\\launch\\x.txt") is True
    assert driver.make_file_executable("\\launch\\x.bat") is True
    assert driver.get_files("\\a b", timestamp="2026-01-01") == ["\\a b\\c.txt", "\\a b\\d.txt"]
    assert driver.ran == [
        ["cmd.exe", "/c", "dir", "/b", "/a", "\\launch\\a b"],
        ["cmd.exe", "/c", "mkdir", "\\launch\\a b"],
        ["cmd.exe", "/c", "dir", "/b", "/a", "\\launch\\*.txt"],
        ["cmd.exe", "/c", "del", "/f", "/q", "\\launch\\x.txt"],
        ["cmd.exe", "/c", "dir", "/s", "/b", "/a-d", "\\a b"],
    ]


def test_windows_parents() -> None:
    """Empty folders are removed upwards, to the first that is not."""
    driver = Scripted(WINDOWS, 0, 0, 1)
    driver._delete_parent_directories(PureWindowsPath("\\a\\b\\c\\d"))
    assert [command[-1] for command in driver.ran] == ["\\a\\b\\c\\d", "\\a\\b\\c", "\\a\\b"]


@pytest.mark.parametrize("path", ['\\x" & del \\*', "\\%PATH%", "\\a|b", "\\a\nb"])
def test_windows_paths_that_are_more_than_paths(path: str) -> None:
    """What cmd.exe would read as a command or a variable is refused before anything runs."""
    driver = Scripted(WINDOWS)
    with pytest.raises(InvalidInputError, match=r"cmd\.exe"):
        driver.delete_file(path)
    assert driver.ran == []


def test_nothing_could_be_run(caplog: pytest.LogCaptureFixture) -> None:
    """None from `execute` is None here, and logged with the documented words."""
    driver = Scripted(LINUX, *[None] * 6)
    assert driver.file_exists("/x") is None
    assert driver.delete_file("/x") is None
    assert driver.make_file_executable("/x") is None
    assert driver.create_directories("/x") is None
    assert driver.get_files("/x") is None
    assert driver.write("/x/y", "") is False
    assert driver.written == []
    assert caplog.text.count("`execute` returned `None` indicating an error has occurred.") == 6


def test_writing_makes_the_folder() -> None:
    """The folder comes first; without it nothing is written."""
    driver = Scripted(LINUX, 0, 0, 1)
    assert driver.write("/d/x", "text") is True
    assert driver.append("/d/x", "more") is True
    assert driver.write("/d/x", "lost") is False
    assert driver.written == [("/d/x", "text", "w"), ("/d/x", "more", "a")]
    assert [command[-1] for command in driver.ran] == ["/d"] * 3


def test_a_process_without_an_exit_code() -> None:
    """An agent that does not say how a process ended leaves nobody waiting for ever."""
    driver = Scripted(LINUX)
    driver.output_cache[7] = {"exited": True}
    assert driver.get_exitcode(7) is None
    assert driver.get_stdout(7) is None
    with pytest.raises(ChildProcessError, match="process 7"):
        driver.wait_for_exitcode(7)


@pytest.mark.parametrize(
    ("system", "working", "script", "reboot"),
    [
        (LINUX, "/var/launch/-5/run.sh", "/var/launch/-5/run.sh/call_arguments.sh", "/var/launch/-5/run.sh/reboot"),
        (WINDOWS, "\\launch\\-5\\run.sh", "\\launch\\-5\\run.sh\\call_arguments.bat", "C:\\launch\\-5\\run.sh\\reboot"),
    ],
)
def test_paths_of_an_entry(system: str, working: str, script: str, reboot: str) -> None:
    """The working directory is named by time and program; one of the entry's own files is called in there."""
    entry = ScheduleEntry(-5)
    entry.set_executable("run.sh")
    entry.add_content("run.sh", "echo")
    Scripted(system).create_paths(entry)
    joined = PureWindowsPath if system == WINDOWS else PurePosixPath
    assert {name: getattr(entry, name) for name in ("working_dir", "exec_path", "call_args_path", "reboot_path")} == {
        "working_dir": working,
        "exec_path": str(joined(working) / "run.sh"),
        "call_args_path": script,
        "reboot_path": reboot,
    }


def test_programs_that_are_no_files_of_the_entry() -> None:
    """They are called as given: an absolute path, or a name on the search path."""
    driver = Scripted(LINUX)
    found = []
    for program in ("/bin/echo", "echo"):
        entry = ScheduleEntry(10)
        entry.set_executable(program)
        driver.create_paths(entry)
        found.append((entry.exec_path, entry.working_dir))  # type: ignore[attr-defined]
    assert found == [("/bin/echo", "/var/launch/10/echo"), ("echo", "/var/launch/10/echo_1")]


def test_entries_without_a_program() -> None:
    """They have a place as well, also at a time that is no number of seconds."""
    entry = ScheduleEntry(-math.inf)
    driver = Scripted(LINUX)
    driver.create_paths(entry)
    assert entry.working_dir == "/var/launch/-inf/files"  # type: ignore[attr-defined]
    assert driver.deconflict_agent_path("/var/launch/-inf/files") == PurePosixPath("/var/launch/-inf/files_1")
