"""`AbstractDriver`: what a handler asks of whatever talks to the agent inside a virtual machine.

A driver for another hypervisor or agent is a subclass that implements the abstract methods. It is found by its
`get_engine` when its module lies in ``vmr/drivers/`` or its package names it in the entry point group ``vmr.drivers``
(see `vmr.drivers`). What can be done with those methods alone is done here, for POSIX guests and for Windows.

Everything is synchronous and may be called from several threads.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, ClassVar, Final

from vmr import guest_commands
from vmr.guest_commands import Run
from vmr.schedule import Entry, format_time

if TYPE_CHECKING:
    from vmr.schedule_entry import ScheduleEntry

POSIX_ROOT: Final = PurePosixPath("/var/launch")
WINDOWS_ROOT: Final = PureWindowsPath("/launch")
"""Where entries have their working directories. A guest agent on Windows takes paths without the drive."""

WINDOWS_DRIVE: Final = "C:"

_FIRST_LOOK: Final = 0.002
_SHORT: Final = 0.05


class AbstractDriver(ABC):
    """A connection to the agent inside one virtual machine.

    The abstract methods raise `NotImplementedError` here.

    Attributes:
        log: where the driver logs.
        driver: what speaks to the agent; None before the driver has made it.
        lock: guards what several threads use.
        target_os: the guest's operating system in words, as `get_os` returned it; empty before it is known.
        used_agent_paths: working directories that `deconflict_agent_path` has given away.
        output_cache: by process id, what is known of programs that were run::

                {pid: {"exited": bool,
                       "exitcode": int,        # once it has exited
                       "signal": int,          # only when one ended it
                       "stdout": str, "stdout_trunc": bool,      # as far as captured
                       "stderr": str, "stderr_trunc": bool}}

            An entry lives until the process id is used again or the machine is rebooted.

    """

    _EXEC_ERROR_MSG: ClassVar[str] = "`execute` returned `None` indicating an error has occurred."

    def __init__(self, config: Mapping[str, Any], log: logging.Logger) -> None:
        """Prepare a driver; nothing is connected before `connect`.

        ``config`` says where the agent is: ``path``, its socket or device on this host. ``engine``, ``vm_name`` and
        ``vm_uuid`` are in it as well when a handler makes the driver. Raises `FileNotFoundError` without a path.
        """
        if not config.get("path"):
            raise FileNotFoundError("the VM's configuration names no 'path': give the path of the agent's socket")
        self.log = log
        self.config = config
        self.driver: Any = None
        self.lock = threading.Condition()
        self.target_os = ""
        self.used_agent_paths: set[str] = set()
        self.output_cache: dict[int, dict[str, Any]] = {}

    # --- what a driver has to implement ---

    @abstractmethod
    def connect(self) -> Any:
        """Connect to the agent and synchronize with it; return what `sync` returned.

        Raises `OSError` when that fails.
        """
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        raise NotImplementedError

    @abstractmethod
    def ping(self, timeout: float = 10) -> bool:
        """Return whether the agent answers within ``timeout`` seconds."""
        raise NotImplementedError

    @abstractmethod
    def sync(self, timeout: float = 5) -> int | None:
        """Bring both ends in step within ``timeout`` seconds; return the random token used, None on failure."""
        raise NotImplementedError

    @staticmethod
    @abstractmethod
    def get_engine() -> str:
        """Return the virtualization engine that this driver is for."""
        raise NotImplementedError

    @abstractmethod
    def execute(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Start a program in the guest; return its process id, or None on failure.

        ``arg`` is a list of arguments, or one argument as a string; ``env`` holds ``NAME=value`` strings and replaces
        the environment; ``input_data`` is its standard input; ``capture_output`` keeps what it writes.
        """
        raise NotImplementedError

    @abstractmethod
    def exec_status(self, pid: int) -> dict[str, Any]:
        """Return how the program ``pid`` is doing, in the form of an entry of ``output_cache``."""
        raise NotImplementedError

    @abstractmethod
    def store_captured_output(self, pid: int, output: Any) -> None:
        """Add what the program ``pid`` wrote, or became, to ``output_cache``."""
        raise NotImplementedError

    @abstractmethod
    def _write(self, filename: str, data: str, mode: str = "w") -> bool:
        """Write ``data`` to a file whose folder exists, ``mode`` "w" or "a"; return whether that succeeded."""
        raise NotImplementedError

    @abstractmethod
    def write_from_file(self, filename: str, local_filename: str, mode: str = "w") -> bool:
        """Write the content of this host's ``local_filename`` to a file in the guest; return whether that succeeded."""
        raise NotImplementedError

    @abstractmethod
    def read_file(self, filename: str, local_destination: PurePosixPath, mode: str = "rb") -> bool:
        """Copy a file of the guest to ``local_destination`` on this host; return whether that succeeded."""
        raise NotImplementedError

    @abstractmethod
    def file_flush(self, handle: Any) -> None:
        """Have an open file of the guest written to its disk."""
        raise NotImplementedError

    @abstractmethod
    def get_os(self) -> str:
        """Return the guest's operating system in words ("pretty name")."""
        raise NotImplementedError

    @abstractmethod
    def get_time(self) -> int:
        """Return the guest's time in nanoseconds since 1970 (UTC)."""
        raise NotImplementedError

    @abstractmethod
    def set_time(self) -> None:
        """Set the guest's time to this host's."""
        raise NotImplementedError

    @abstractmethod
    def set_user_password(self, username: str, password: str) -> None:
        """Set a guest user's password."""
        raise NotImplementedError

    @abstractmethod
    def network_get_interfaces(self) -> list[Any]:
        """Return the guest's network interfaces, one JSON object each."""
        raise NotImplementedError

    @abstractmethod
    def reboot(self) -> None:
        """Have the guest reboot; return when it is on its way down."""
        raise NotImplementedError

    # --- processes ---

    def connected(self, timeout: float = 10) -> dict[str, Any]:
        """Return an empty dictionary when the agent answers within ``timeout`` seconds.

        Raises `TimeoutError` (an `Exception` that every caller of FIREWHEEL's catches) when it does not.
        """
        if not self.ping(timeout):
            raise TimeoutError(f"the agent at {self.config['path']} does not answer within {timeout} s")
        return {}

    def get_exitcode(self, pid: int) -> int | None:
        """Ask how the program ``pid`` is doing; return its exit code once it has exited and one is known, else None."""
        status = self.exec_status(pid)
        code = status.get("exitcode") if status.get("exited") else None
        return None if code is None else int(code)

    def wait_for_exitcode(self, pid: int, interval: float = 1) -> int:
        """Return the exit code of the program ``pid`` when it has exited.

        ``interval`` is the longest time between two looks, in seconds; the first looks follow each other faster. Waits
        for as long as the program runs. Raises `ChildProcessError` when it has exited and the agent does not say with
        what.
        """
        return self._wait(pid, interval)

    def evaluate_process_success(self, pid: int, interval: float = 1) -> bool:
        """Wait for the program ``pid`` as `wait_for_exitcode` does; return whether its exit code is 0."""
        return self.wait_for_exitcode(pid, interval) == 0

    def get_stdout(self, pid: int) -> str | None:
        """Return what the program ``pid`` has written to standard output so far; None when nothing is known of it."""
        return self._get_stream("stdout", pid)

    def get_stderr(self, pid: int) -> str | None:
        """Return what the program ``pid`` has written to standard error so far; None when nothing is known of it."""
        return self._get_stream("stderr", pid)

    def _get_stream(self, stream_name: str, pid: int) -> str | None:
        """Return one stream (``stdout`` or ``stderr``) of the program ``pid``, after asking how it is doing."""
        text = self.exec_status(pid).get(stream_name)
        return None if text is None else str(text)

    def _reset_cache(self) -> None:
        """Forget all programs: after a reboot their process ids belong to others."""
        with self.lock:
            self.output_cache = {}

    def _wait(self, pid: int, longest: float) -> int:
        pause = _FIRST_LOOK
        while not (status := self.exec_status(pid)).get("exited"):
            time.sleep(min(pause, longest))
            pause = min(pause * 2, longest)
        code = status.get("exitcode")
        if code is None:
            raise ChildProcessError(f"process {pid} has exited, and the agent does not say with which code")
        return int(code)

    # --- files ---

    def write(self, filename: str, data: str, mode: str = "w") -> bool:
        """Write ``data`` to a file in the guest, making its folder first; return whether that succeeded.

        ``mode`` is "w" or "a".
        """
        parent = self._path(filename).parent
        return self.create_directories(str(parent)) is True and self._write(filename, data, mode)

    def append(self, filename: str, content: str) -> bool:
        """Append ``content`` to a file in the guest, making it and its folder first; return whether that succeeded."""
        return self.write(filename, content, "a")

    def create_directories(self, directory: str) -> bool | None:
        """Make a folder (absolute path) with its parents; return whether it is there then.

        None means that nothing could be run.
        """
        if self._windows and self.file_exists(directory):
            return True
        return self._succeeds(guest_commands.make_directories(directory, windows=self._windows))

    def file_exists(self, path: str) -> bool | None:
        """Return whether there is anything at the absolute ``path``, which may hold shell wildcards.

        None means that nothing could be run.
        """
        return self._succeeds(guest_commands.exists(path, windows=self._windows))

    def delete_file(self, path: str) -> bool | None:
        """Delete one file (absolute path); return whether it is gone, None when nothing could be run.

        Folders are left alone.
        """
        return self._succeeds(guest_commands.remove_file(path, windows=self._windows))

    def make_file_executable(self, path: str) -> bool | None:
        """Set a file's executable flags, where the guest has such; return whether that succeeded.

        None means that nothing could be run.
        """
        return True if self._windows else self._succeeds(guest_commands.make_executable(path))

    def get_files(self, path: str, timestamp: str | None = None) -> list[str] | None:
        """Return the absolute names of the files at ``path``: a file, a folder with all that is in it, or wildcards.

        ``timestamp``, a date that the guest's ``date -d`` reads, leaves only files modified later (not on Windows).
        None when there is nothing at ``path``, or on any other error.
        """
        pid = self._start(guest_commands.list_files(path, timestamp, windows=self._windows))
        if pid is None or self._wait(pid, _SHORT) != 0:
            return None
        return (self.get_stdout(pid) or "").splitlines()

    def _delete_parent_directories(self, directory: PurePath) -> None:
        """Delete an empty folder, then its parents, up to the first that is not empty."""
        if not self._windows:
            self._succeeds(guest_commands.remove_empty_directories(str(directory)))
            return
        for folder in [directory, *directory.parents]:
            if not self._succeeds(guest_commands.remove_empty_directory(str(folder))):
                return

    # --- working directories ---

    def create_paths(self, schedule_entry: ScheduleEntry) -> None:
        """Decide on an entry's paths in this guest, and leave them in it as strings.

        ``working_dir``: its own folder, ``<root>/<time>/<name>``; ``exec_path``: the executable, absolute as given, in
        the working directory when it is one of the entry's files, else a name on the guest's search path;
        ``call_args_path``: the script that calls it; ``reboot_path``: the file by which it asks for a reboot (with the
        drive, on Windows, because programs see it).
        """
        executable = schedule_entry.executable or ""
        moment = "-inf" if schedule_entry.start_time == -math.inf else format_time(schedule_entry.start_time)
        name = Entry(id="", start_time=-1, executable=schedule_entry.executable).name
        root: PurePath = WINDOWS_ROOT if self._windows else POSIX_ROOT
        working = self.deconflict_agent_path(str(root / moment / name))
        if any(datum.get("location") == executable for datum in schedule_entry.data):
            executable = str(working / executable)  # an absolute one stays as it is
        drive = WINDOWS_DRIVE if self._windows else ""
        found = {
            "working_dir": str(working),
            "exec_path": executable,
            "call_args_path": str(working / ("call_arguments.bat" if self._windows else "call_arguments.sh")),
            "reboot_path": f"{drive}{working / 'reboot'}",
        }
        for name, value in found.items():
            setattr(schedule_entry, name, value)

    def deconflict_agent_path(self, path: str) -> PurePath:
        """Return ``path``, or ``path_1``, ``path_2``… when it was given away before, as a path of the guest."""
        with self.lock:
            unique, number = path, 0
            while unique in self.used_agent_paths:
                number += 1
                unique = f"{path}_{number}"
            self.used_agent_paths.add(unique)
        return self._path(unique)

    @property
    def _windows(self) -> bool:
        if not self.target_os:
            self.target_os = self.get_os()
        return "Windows" in self.target_os

    def _path(self, path: str) -> PurePath:
        return PureWindowsPath(path) if self._windows else PurePosixPath(path)

    def _start(self, command: Run) -> int | None:
        pid = self.execute(command[0], command[1])
        if pid is None:
            self.log.error(self._EXEC_ERROR_MSG)
        return pid

    def _succeeds(self, command: Run) -> bool | None:
        pid = self._start(command)
        return None if pid is None else self._wait(pid, _SHORT) == 0
