"""Processes are recognised, ended and listed by what they are, never by a number that another one may have by now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from vmr.errors import GuestSetupError
from vmr.guests import processes
from vmr.guests.processes import ProcessId


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[ProcessId]:
    """Start a marked process that does nothing, and end it after the test."""
    process = processes.spawn(["sleep", "1000"], {processes.FOLDER_MARK: str(tmp_path)}, tmp_path / "log")
    yield process
    processes.kill([process])


def test_a_process_is_known_by_its_start_too(sleeper: ProcessId) -> None:
    """The same pid with another start, or in another boot of the host, is another process: not alive, and not killed."""
    others = [msgspec.structs.replace(sleeper, started=1), msgspec.structs.replace(sleeper, boot="another")]
    assert processes.is_alive(sleeper)
    assert not any(processes.is_alive(other) for other in others)
    processes.kill(others)
    assert processes.is_alive(sleeper)


def test_a_killed_process_is_gone_when_kill_returns(sleeper: ProcessId) -> None:
    """Not even a zombie is left, and killing what has ended is no error."""
    processes.kill([sleeper])
    assert not processes.is_alive(sleeper)
    assert not psutil.pid_exists(sleeper.pid)
    processes.kill([sleeper])


def test_children_end_with_their_process(tmp_path: Path) -> None:
    """A process is ended with the children it has."""
    process = processes.spawn(["sh", "-c", "sleep 1000 & echo $!; wait"], {}, tmp_path / "log")
    while not (text := (tmp_path / "log").read_text()).endswith("\n"):
        assert processes.is_alive(process)
    processes.kill([process])
    assert not psutil.pid_exists(int(text)) or psutil.Process(int(text)).status() == psutil.STATUS_ZOMBIE


def test_marked_processes_are_listed_and_swept(sleeper: ProcessId, tmp_path: Path) -> None:
    """A folder's processes are found by their mark alone; a sweep ends them, except those to keep."""
    assert [found.pid for found in processes.running(tmp_path)] == [sleeper.pid]
    assert processes.running(tmp_path / "other") == []
    processes.sweep(tmp_path, keep=[sleeper])
    assert processes.is_alive(sleeper)
    processes.sweep(tmp_path)
    assert not processes.is_alive(sleeper)


def test_a_process_has_a_session_and_an_environment_of_its_own(sleeper: ProcessId) -> None:
    """Nothing reaches it through the starter's terminal, and the starter's environment stays out."""
    fields = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == sleeper.pid
    assert set(psutil.Process(sleeper.pid).environ()) == {"PATH", "LC_ALL", processes.FOLDER_MARK}


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which command is missing."""
    with pytest.raises(GuestSetupError, match="'no-such-program' is not installed"):
        processes.spawn(["no-such-program"], {}, tmp_path / "log")
