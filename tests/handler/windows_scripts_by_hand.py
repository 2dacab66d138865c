r"""The scripts of `vmr.spool_windows` that ``cmd.exe`` reads, carried out by Wine's ``cmd.exe``.

Not part of the suite, because Wine takes 700 MB: install it, then ``pytest tests/handler/windows_scripts_by_hand.py``.

Wine's differs from Windows' in ways that limit this: it knows no code page 65001, opens what it redirects to for itself alone (so that
nothing can be copied that a program writes), and has no PowerShell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmr import spool_windows
from vmr.schedule import Entry
from vmr.spool import Command, Finished, Install

WINE = next((found for name in ("wine64", "wine", "/usr/lib/wine/wine64") if (found := shutil.which(name))), None)


class Windows:
    """A Windows of Wine's."""

    def __init__(self, prefix: Path) -> None:
        silent = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml="}
        self._environment = {**os.environ, "WINEPREFIX": str(prefix), "WINEARCH": "win64", **silent}
        self._drive = prefix / "drive_c"
        self._uploads = 0

    def file(self, path: str) -> Path:
        """Return where a file of drive C: is on this host."""
        return self._drive / path[3:].replace("\\", "/")

    def boot(self) -> subprocess.Popen[bytes]:
        """Start Windows: it is up until the process that is returned has no more standard input."""
        assert WINE is not None
        # No pipes: services that Wine starts on the way would hold them open.
        null = subprocess.DEVNULL
        made = [WINE, "wineboot", "--init"]
        subprocess.run(made, stdin=null, stdout=null, stderr=null, env=self._environment, timeout=120, check=True)
        pipe = subprocess.PIPE
        return subprocess.Popen([WINE, "cmd"], stdin=pipe, stdout=null, stderr=null, env=self._environment)

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        """Start a command of the spool."""
        assert WINE is not None
        for path, data in command.uploads:
            self.file(path).write_bytes(data)
        program = [WINE, command.path.removesuffix(".exe"), *command.arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=self._environment)

    def run(self, command: Command) -> tuple[bytes, bytes]:
        """Carry out a command of the spool; return what it printed."""
        return self.start(command).communicate(timeout=120)

    def put(self, directory: str, executable: str, arguments: str = "") -> None:
        """Put an entry's call script in place."""
        self._uploads += 1
        uploaded = spool_windows.incoming_path(f"upload-{self._uploads}")
        text = spool_windows.call_script(Entry("x", -1, executable, arguments))
        self.file(uploaded).write_bytes(text.encode())
        output, _ = self.run(
            spool_windows.install([Install(spool_windows.call_script_path(directory), uploaded=uploaded)])
        )
        assert output == b""

    def probe(self, directory: str, attempt: int = 1) -> object:
        """Return how an attempt stands."""
        return spool_windows.parse_probe(self.run(spool_windows.probe([(directory, attempt)]))[0], 1)[0]


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    """Yield a Windows that is prepared for a handler."""
    guest = Windows(tmp_path_factory.mktemp("wine") / "prefix")
    up = guest.boot()
    for command in spool_windows.preparations():
        guest.run(command)
    guest.run(spool_windows.begin("run-1"))
    yield guest
    with up:
        up.kill()


def test_a_boot_is_known(windows: Windows) -> None:
    """The value that says which boot it is is made once."""
    boots = {spool_windows.parse_begin(windows.run(spool_windows.begin("run-1"))[0]) for _ in range(2)}
    assert len(boots) == 1
    assert boots != {""}


def test_an_attempt_runs_once_and_is_recorded(windows: Windows) -> None:
    """Six launches at once and one after: one runs. The line is as written, both streams and the exit code are kept."""
    directory = spool_windows.working_directory("-10/say.exe")
    windows.put(directory, "echo", 'once>>count& echo "quoted & x" 100%% & echo err>&2& echo.>reboot& exit 3')
    launches = [windows.start(spool_windows.launch(directory, 1)) for _ in range(6)]
    outcomes = [spool_windows.parse_launch(*each.communicate(timeout=120)).outcome for each in launches]
    outcomes.append(spool_windows.parse_launch(*windows.run(spool_windows.launch(directory, 1))).outcome)
    (finished,) = [each for each in outcomes if isinstance(each, Finished)]
    assert outcomes.count("again") == 6
    assert (finished.exit_code, finished.reboot) == (3, True)
    assert windows.file(rf"{directory}\count").read_bytes() == b"once\r\n"
    assert windows.file(rf"{directory}\attempt-1\stdout").read_bytes() == b'"quoted & x" 100% \r\n'
    assert windows.file(rf"{directory}\attempt-1\stderr").read_bytes().strip() == b"err"
    assert windows.probe(directory) == finished


def test_a_running_attempt_and_a_dead_one(windows: Windows) -> None:
    """The lock tells: running while the program runs, dead when the call script was killed and the program is gone."""
    directory = spool_windows.working_directory("5/wait")
    windows.put(directory, "call", r".\wait.bat")
    windows.file(rf"{directory}\wait.bat").write_bytes(b"@echo off\r\n:again\r\nif not exist go goto again\r\n")
    assert windows.probe(directory) == "absent"
    launch = windows.start(spool_windows.launch(directory, 1))
    deadline = time.monotonic() + 30
    while not windows.file(rf"{directory}\attempt-1\stdout").exists():
        assert time.monotonic() < deadline
    assert windows.probe(directory) == "running"
    launch.kill()
    launch.wait(60)
    assert windows.probe(directory) == "running"
    windows.file(rf"{directory}\go").touch()
    while windows.probe(directory) == "running":
        assert time.monotonic() < deadline
    assert windows.probe(directory) == "dead"
    launch.communicate(timeout=60)


def test_files_are_put_in_place_whatever_their_names(windows: Windows) -> None:
    """Characters of cmd.exe in names, folders made, what exists kept or replaced, failures told by number."""
    base = "C:\\data"
    windows.file(rf"{base}\folder").mkdir(parents=True)
    for name in ("kept", "replaced"):
        windows.file(rf"{base}\{name}").write_text("old")
    wanted = [
        ("new\\a b & c!^%PATH%.txt", False),
        ("kept", False),
        ("replaced", True),
        ("folder", True),
        ("kept\\x", True),
    ]
    files = []
    for number, (name, anew) in enumerate(wanted):
        uploaded = spool_windows.incoming_path(f"in-{number}")
        windows.file(uploaded).write_text("new")
        files.append(Install(rf"{base}\{name}", uploaded=uploaded, overwrite=anew))
    output, _ = windows.run(spool_windows.install(files))
    assert spool_windows.parse_failed_installs(output, len(files)) == [3, 4]
    texts = [windows.file(rf"{base}\{name}").read_text() for name, _ in wanted[:3]]
    assert texts == ["new", "old", "new"]


def test_a_later_run_finds_the_guest_empty(windows: Windows) -> None:
    """What the earlier run left is set aside."""
    windows.put(spool_windows.working_directory("7/left"), "echo")
    windows.run(spool_windows.begin("run-2"))
    assert [each.name for each in windows.file(spool_windows.LAUNCH_ROOT).iterdir()] == [".vmr"]
    aside = rf"{spool_windows.INCOMING}\before-run-2\7\left\call_arguments.bat"
    assert windows.file(aside).exists()
