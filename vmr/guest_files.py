"""An entry's files and call script, put into a guest with a driver alone: POSIX guests and Windows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

from vmr import spool
from vmr.abstract_driver import AbstractDriver
from vmr.schedule import Entry, EntryFile, is_absolute
from vmr.schedule_entry import ScheduleEntry

Content = Callable[[EntryFile], bytes | Path]
"""Says what is in a file: its bytes, or a file of this host that has them.

Raises `OSError` when there is no such thing.
"""


def load_files(driver: AbstractDriver, schedule_entry: ScheduleEntry, content: Content) -> list[str]:
    """Put what an entry needs into the guest, unless it is there; return why, for each file that could not be.

    Decides on the entry's paths first (`AbstractDriver.create_paths`), unless that was done.
    """
    if not hasattr(schedule_entry, "working_dir"):
        driver.create_paths(schedule_entry)
    problems = []
    for entry in schedule_entry.to_entries():
        for file in entry.files:
            target = file.location if is_absolute(file.location) else _joined(schedule_entry, file.location)
            try:
                if not _put(driver, target, file, content):
                    problems.append(f"{target} cannot be written in the guest")
            except OSError as error:
                problems.append(f"{target}: {error}")
        if entry.executable is not None and not entry.on_host and not _put_call_script(driver, schedule_entry, entry):
            problems.append("its call script cannot be written in the guest")
    return problems


def is_windows(driver: AbstractDriver) -> bool:
    """Return whether the driver's guest runs Windows."""
    return "Windows" in (driver.target_os or driver.get_os())


def _put(driver: AbstractDriver, target: str, file: EntryFile, content: Content) -> bool:
    if driver.file_exists(target):
        return True
    source = content(file)
    if file.content is not None and is_windows(driver):
        done = driver.write(target, file.content.replace("\r\n", "\n").replace("\n", "\r\n"))
    elif isinstance(source, Path):
        done = _make_parent(driver, target) and driver.write_from_file(target, str(source))
    else:
        done = _put_bytes(driver, target, source)
    return done and (not file.executable or driver.make_file_executable(target) is True)


def _put_bytes(driver: AbstractDriver, target: str, data: bytes) -> bool:
    with tempfile.NamedTemporaryFile(prefix="vmr-") as local:
        local.write(data)
        local.flush()
        return _make_parent(driver, target) and driver.write_from_file(target, local.name)


def _make_parent(driver: AbstractDriver, target: str) -> bool:
    path = PureWindowsPath(target) if is_windows(driver) else PurePosixPath(target)
    return driver.create_directories(str(path.parent)) is True


def _put_call_script(driver: AbstractDriver, schedule_entry: ScheduleEntry, entry: Entry) -> bool:
    path, working = _path_of(schedule_entry, "call_args_path"), _path_of(schedule_entry, "working_dir")
    if is_windows(driver):
        command = f'"{_path_of(schedule_entry, "exec_path")}" {entry.arguments}'.rstrip()
        return driver.write(path, f'cd /d "{working}"\r\n{command}\r\n')
    return driver.write(path, spool.call_script(entry))


def _joined(schedule_entry: ScheduleEntry, location: str) -> str:
    working = _path_of(schedule_entry, "working_dir")
    return f"{working}\\{location}" if "\\" in working else f"{working}/{location}"


def _path_of(schedule_entry: ScheduleEntry, name: str) -> str:
    return str(getattr(schedule_entry, name))
