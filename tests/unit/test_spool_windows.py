"""The Windows dialect of the spool protocol as text and data: names, command lines, call scripts, answers."""

from __future__ import annotations

import pytest

from vmr import spool_windows
from vmr.agent_messages import OsInfo
from vmr.dialect import POSIX, WINDOWS, dialect_of
from vmr.errors import DataError
from vmr.schedule import Entry, EntryFile
from vmr.spool import Finished, Install, LaunchReply


def last_line(executable: str, arguments: str = "", *files: str) -> str:
    """Return the line of a call script that runs the program."""
    entry = Entry("x", -1, executable, arguments, tuple(EntryFile(each, content="") for each in files))
    return spool_windows.call_script(entry).splitlines()[-1]


def test_the_agent_says_which_dialect() -> None:
    """As QEMU's agent names Windows; everything else is POSIX."""
    assert dialect_of(OsInfo(id="mswindows", name="Microsoft Windows")) is WINDOWS
    assert dialect_of(OsInfo(id="debian", name="Debian GNU/Linux")) is POSIX
    assert dialect_of(OsInfo()) is POSIX


@pytest.mark.parametrize("path", ["-10/setup.exe", "0.5/run_1", "100000/a.b-c+d"])
def test_plain_names_are_folders_as_they_are(path: str) -> None:
    """Negative times too."""
    assert spool_windows.working_directory(path) == "C:\\launch\\" + path.replace("/", "\\")


@pytest.mark.parametrize(
    "name", ["a b", "a&b", "a%b", "ä", "con", "NUL.exe", "com1", "x" * 100, "a:b", 'a"b', "end.", ""]
)
def test_other_names_become_plain_ones_that_stay_apart(name: str) -> None:
    """No word that cmd.exe or NTFS reads as something else ever stands on a command line."""
    directory = spool_windows.working_directory(f"-1/{name}")
    others = {spool_windows.working_directory(f"-1/{each}") for each in ("a_b", "a*b", "", name)}
    assert directory in others
    assert len(others) >= 3
    for command in (spool_windows.launch(directory, 1), spool_windows.probe([(directory, 1)])):
        assert all(character.isalnum() or character in "\\/:._+-" for word in command.arguments for character in word)


def test_a_command_line_of_many_probes_is_short_enough() -> None:
    """Fifty attempts with the longest of names, which is what a guest probes at once: 8,191 characters are the limit."""
    longest = spool_windows.working_directory("-100000.123456/" + "x" * 64)
    assert sum(len(word) + 1 for word in spool_windows.probe([(longest, 999)] * 50).arguments) < 8191


def test_call_scripts_end_with_the_line_as_written() -> None:
    """FIREWHEEL's rules: absolute as given, a file of the entry from the working directory, else from the PATH."""
    assert last_line("ping", "-n 3 10.0.0.1 > NULL") == "ping -n 3 10.0.0.1 > NULL"
    assert last_line("run.bat", '"a b"', "run.bat") == '".\\run.bat" "a b"'
    assert last_line("sub/100%.exe", "", "sub/100%.exe") == '".\\sub\\100%%.exe"'
    assert last_line("C:\\Program Files\\x.exe", "/s") == '"C:\\Program Files\\x.exe" /s'
    assert last_line("C:\\x.exe") == "C:\\x.exe"
    assert last_line("do.ps1", "-A 1", "do.ps1") == 'powershell -ExecutionPolicy Bypass -File ".\\do.ps1" -A 1'
    assert last_line("C:\\a b\\do.PS1") == 'powershell -ExecutionPolicy Bypass -File "C:\\a b\\do.PS1"'


def test_defect_30_line_ends_of_call_scripts_are_those_of_windows() -> None:
    """Every line, whatever the arguments brought; the code page is changed only for a line that needs it."""
    text = spool_windows.call_script(Entry("x", -1, "a", "one\ntwo\r\nthree"))
    assert text.endswith("a one\r\ntwo\r\nthree\r\n")
    assert text.count("\n") == text.count("\r\n")
    assert "chcp" not in text
    assert "chcp 65001 >nul\r\na ü\r\n" in spool_windows.call_script(Entry("x", -1, "a", "ü"))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("C:\\a\\b.txt", "C:\\a\\b.txt"),
        ("d:/a/b.txt", "d:\\a\\b.txt"),
        ("/launch/x", "C:\\launch\\x"),
        ("\\x", "C:\\x"),
        ("sub/x", "C:\\launch\\-1\\a\\sub\\x"),
    ],
)
def test_locations(location: str, target: str) -> None:
    """Either slash, drive letters, roots without one, and relative places."""
    assert spool_windows.target_path(location, "C:\\launch\\-1\\a") == target
    assert spool_windows.unwritable(target) == ""


HOSTILE = [
    "C:\\a\\..\\b",
    "C:\\a\\.",
    "C:\\a\\ ",
    "C:\\con",
    "C:\\a\\NUL.txt",
    "C:\\a\\lpt1 .x",
    "C:\\a.txt:stream",
    "C:\\a\\b|c",
    "C:\\a\nb",
    "C:\\a\\",
    "C:a",
    "\\\\server\\share\\x",
    "\\a",
    "/etc/passwd",
    "C:\\a/b",
    "",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_of_a_guest_are_refused(path: str) -> None:
    """Climbing, reserved names, alternate data streams, shares, and what is no path at all."""
    with pytest.raises(DataError, match="no absolute plain path"):
        spool_windows.path_parts(path)


def test_paths_are_mapped_below_the_folder_of_the_vm() -> None:
    """The drive is a folder."""
    assert spool_windows.path_parts("c:\\Users\\Ä b\\x.txt") == ("C", "Users", "Ä b", "x.txt")


def test_paths_travel_in_a_file_and_not_on_the_command_line() -> None:
    """Whatever is in them."""
    path = 'C:\\a "b" & c%PATH%!^.txt'
    command = spool_windows.install([Install(path, uploaded="C:\\launch\\.vmr\\u", overwrite=True)])
    assert command.uploads[0][1] == f"0|anew|C:\\launch\\.vmr\\u|{path}\r\n".encode()
    assert not any("PATH" in word for word in command.arguments)
    listing = spool_windows.list_files("/data/*.log")
    assert listing.uploads[0][1] == b"C:\\data\\*.log\r\n"
    assert listing.arguments[-1] == listing.uploads[0][0]


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ("09:00:00.25 09:00:01.50", 1.25),
        ("9:00:00,25 09:00:01,50", 1.25),
        ("23.59.59,00 00.00.01,00 2", 2.0),
        ("23:59:59.00 00:10:00.00 86999", 86999.0),
        ("10:00:05.00 10:00:00.00", 0.0),
        ("noon later", 0.0),
    ],
)
def test_durations(times: str, seconds: float) -> None:
    """Times of day as each locale prints them; measured seconds when the date changed; never negative."""
    (found,) = spool_windows.parse_probe(f"finished 3 1 {times} \r\n".encode(), 1)
    assert found == Finished(3, reboot=True, duration=seconds)


def test_what_a_launch_says() -> None:
    """Its end without its output, that it was claimed before, that it could not be; anything else is not of the protocol."""
    done = spool_windows.parse_launch(b"vmr finished -1073741819 0 10:00:00.00 10:00:00.50 \r\n", b"")
    assert done == LaunchReply(Finished(-1073741819, reboot=False, duration=0.5), None, None)
    assert spool_windows.parse_launch(b"vmr again\r\n", b"").outcome == "again"
    assert spool_windows.parse_launch(b"vmr refused\r\n", b"").outcome == "refused"
    for answer in (b"", b"vmr finished\r\n", b"vmr finished x 0 1 2", b"\xff"):
        with pytest.raises(DataError):
            spool_windows.parse_launch(answer, b"")


def test_what_a_probe_says() -> None:
    """One line for each attempt, or nothing is believed."""
    assert spool_windows.parse_probe(b"absent\r\nclaimed\r\nrunning\r\ndead\r\n", 4) == [
        "absent",
        "claimed",
        "running",
        "dead",
    ]
    for answer in (b"running\r\n", b"what\r\nrunning\r\n", b"finished\r\nrunning\r\n"):
        with pytest.raises(DataError):
            spool_windows.parse_probe(answer, 2)
