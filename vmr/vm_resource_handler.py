"""`VMResourceHandler`: one virtual machine, driven by a process or thread of its own, as FIREWHEEL has it.

It is a face of the machinery that serves all VMs of a host (`vmr handler`, `vmr.handler`): the same plan, the same
records, the same claims in the guest. Use it for a VM that needs a handler of its own, or to do single things in a
guest from a script.

``python -m vmr.vm_resource_handler CONFIG.json`` runs one; the file holds the configuration as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from vmr.abstract_driver import AbstractDriver
from vmr.clock import SystemClock
from vmr.driver_guest import DriverGuest
from vmr.drivers import available_drivers, find_driver, is_driver
from vmr.due_events import Item, seconds_until_due, take_due
from vmr.errors import InvalidInputError, VmrError
from vmr.events import AgentAddress, EntryFinished
from vmr.experiment_start import ExperimentStart
from vmr.guest_files import load_files
from vmr.log import AsyncLog
from vmr.one_vm import OneVm
from vmr.schedule import Entry, EntryFile, Transfer, is_absolute
from vmr.schedule_codec import decode_schedule
from vmr.schedule_db import ScheduleDb
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_event import ScheduleEvent
from vmr.schedule_parts import with_identity
from vmr.schedule_updater import ScheduleUpdater
from vmr.settings import load_settings
from vmr.shared_log import SharedLog
from vmr.subjects import encode_token
from vmr.utils import get_vm_count_not_ready, set_vm_state, set_vm_time
from vmr.vm_log import VmLog
from vmr.vm_mapping import VMMapping, VMState
from vmr.vm_resource_store import VmResourceStore

DEFAULT_ENGINE: Final = "QemuVM"
_STREAMS: Final = {"stdout": 1, "stderr": 2}


class VMResourceHandler:
    """Drives one VM, in the database of the settings in force.

    Args:
        config: of the VM: ``vm_name`` and ``vm_uuid``, as it was added to the experiment; ``path``, the socket or
            device of its agent on this host; optionally ``engine`` (`DEFAULT_ENGINE`), which chooses the driver, and
            ``log_dir``, the folder of the VM's log files (default: ``logs`` in the database's folder).
        check_interval: accepted, and without a meaning: seconds between two looks at the schedule, and changes are
            pushed here.

    Attributes:
        config: as given, with the engine.
        driver: the driver, None before there is one.
        log: the logger that writes to ``<vm_name>.log``.
        log_files: the VM's log files.
        prior_q: events of the schedule for `get_events`, with their times.
        condition: held and notified when ``prior_q`` changes.

    Raises `InvalidInputError` (a ``ValueError``) when the configuration lacks something, ``ConnectionError`` within
    seconds, saying what to type, when the log cannot be reached.

    """

    def __init__(self, config: Mapping[str, Any], check_interval: int = 10) -> None:
        missing = [key for key in ("vm_name", "vm_uuid", "path") if not config.get(key)]
        if missing:
            raise InvalidInputError(f"the VM's configuration has no {missing[0]!r}: give vm_name, vm_uuid and path")
        self.config: dict[str, Any] = {"engine": DEFAULT_ENGINE, **config}
        self.check_interval = check_interval
        self.name, self.uuid = str(config["vm_name"]), str(config["vm_uuid"])
        settings = load_settings()
        self.shared_log = SharedLog(settings)
        self.mapping = VMMapping()
        self.schedule_db = ScheduleDb()
        self.vm_resource_store = VmResourceStore()
        self.log_files = VmLog(Path(config.get("log_dir") or settings.database_dir / "logs"), self.name)
        self.log: logging.Logger = self.log_files.logger
        self.driver: AbstractDriver | None = None
        self.prior_q: queue.PriorityQueue[Item] = queue.PriorityQueue()
        self.condition = threading.Condition()
        self._folder = settings.database_dir / "handlers" / encode_token(self.uuid)
        self._spare: AbstractDriver | None = None
        self._guest = DriverGuest(self._next_driver, Path(str(config["path"])), self.name, SystemClock())
        self._vm = OneVm(self.uuid, self.name, self._guest, self._folder, self.log_files.take)
        self._updater: ScheduleUpdater | None = None
        self._printed: dict[tuple[int, str], int] = {}
        self._stopped = threading.Event()
        self._closed = False
        self._exit_code = 0
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- running ---

    def run(self) -> None:
        """Drive the VM until `stop` is called; an error that ends it is in the VM's log as well as raised.

        Raises `SystemExit` with the code that `stop` was given, when that is not 0.
        """
        try:
            self._run()
        except Exception:
            self.log.exception("the handler of %s ends", self.name)
            raise
        if self._exit_code:
            sys.exit(self._exit_code)

    def _run(self) -> None:
        """Attach the VM, fencing off another handler, and do what its schedule says, as `vmr.handler.Handler` does."""
        host = f"{socket.gethostname()}/{self.uuid}"
        agent = AgentAddress(host, str(self.config["path"]), str(self.config["engine"]))

        async def drive(log: AsyncLog) -> None:
            work = asyncio.ensure_future(self._vm.drive(log, agent))
            loop = asyncio.get_running_loop()
            self._cancel = lambda: loop.call_soon_threadsafe(work.cancel)
            if self._stopped.is_set():
                work.cancel()
            try:
                await asyncio.wait({work})
            finally:
                work.cancel()
            if not work.cancelled():
                work.result()

        try:
            self.shared_log.run(drive)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._cancel = None

    def stop(self, exitcode: int) -> None:
        """End `run`, from another thread; what runs in the guest goes on. `run` then exits with ``exitcode``."""
        self._exit_code = exitcode
        self._stopped.set()
        if self._updater is not None:
            self._updater.stop_thread()
        cancel = self._cancel  # `run` may end at this very moment
        if cancel is not None:
            cancel()
        with self.condition:
            self.condition.notify_all()

    def close(self) -> None:
        """Let go of the guest, the connections and the files. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self._stopped.is_set():
            self.stop(0)
        self.shared_log.run(lambda _log: self._guest.close())
        if self.driver is not None:
            self.driver.close()
        for each in (self.mapping, self.schedule_db, self.vm_resource_store, self.shared_log, self.log_files):
            each.close()

    def get_events(self) -> list[ScheduleEvent]:
        """Return what is to be done now: the events of the schedule that have become due, in their order.

        In negative time those are the events of the earliest time that there are; in positive time those whose time has
        come. Waits until there is one, or `stop` is called (then there is none). Follows the schedule from the first
        call on.
        """
        if self._updater is None:
            self._updater = ScheduleUpdater(
                self.config, self.prior_q, self.condition, self.vm_resource_store, self.schedule_db, None, self.log,
                str(self.log_files.text_file), 1.0, self.check_interval,
            )  # fmt: skip
            self._updater.start()
        while not self._stopped.is_set():
            elapsed = self._elapsed()
            with self.condition:
                if events := take_due(self.prior_q, elapsed):
                    return events
                if not self._stopped.is_set():
                    self.condition.wait(seconds_until_due(self.prior_q, elapsed))
        return []

    def _elapsed(self) -> float:
        """Return the seconds since the start of the experiment, ``-inf`` before it is known."""
        assert self._updater is not None
        start = self._updater.get_start_time()
        return -math.inf if start is None else time.time() - start

    # --- the driver ---

    @staticmethod
    def _check_driver(obj: object) -> bool:
        """Return whether ``obj`` is a class that can be a driver: it implements all of `AbstractDriver`."""
        return is_driver(obj)

    def _import_drivers(self) -> set[type[AbstractDriver]]:
        """Return the driver classes of the drivers folder and of installed packages; see `vmr.drivers`."""
        return available_drivers()

    def import_driver(self) -> type[AbstractDriver]:
        """Return the driver class for the VM's engine.

        Raises `InvalidInputError` when there is none, or more than one.
        """
        return find_driver(self.config["engine"])

    def connect_to_driver(self) -> bool:
        """Make a driver, if there is none, and connect it; return whether its agent answers."""
        if self.driver is None:
            self.driver = self._spare = self._make_driver()
        try:
            self.driver.connect()
        except OSError as error:
            self.log.warning("the agent of %s does not answer: %s", self.name, error)
            return False
        return True

    def _make_driver(self) -> AbstractDriver:
        return self.import_driver()(self.config, self.log)

    def _next_driver(self) -> AbstractDriver:
        """Give the guest the driver that `connect_to_driver` made, and another one when it has lost that."""
        spare, self._spare = self._spare, None
        self.driver = spare or self._make_driver()
        return self.driver

    def _connected(self) -> AbstractDriver:
        if self.driver is None and not self.connect_to_driver():
            raise ConnectionError(f"the agent of {self.name} does not answer at {self.config['path']}")
        assert self.driver is not None
        return self.driver

    # --- what the log is told ---

    def set_current_time(self, cur_time: float) -> None:
        """Record the time of its schedule that the VM has reached, in whole seconds.

        Raises ``RuntimeError`` for an unknown VM.
        """
        set_vm_time(self.uuid, cur_time, self.mapping, self.log)

    def set_state(self, state: str) -> None:
        """Record the VM's state; report the start of the experiment when this makes the last VM ready.

        Raises ``RuntimeError`` for an unknown VM, ``ValueError`` when the state is None.
        """
        set_vm_state(self.uuid, state, self.mapping, self.log)
        if state == VMState.CONFIGURED and get_vm_count_not_ready(self.mapping, self.log) == 0:
            with ExperimentStart() as start:
                self.log.info("every VM is ready; the start is %s", start.add_start_time().isoformat())

    # --- files and programs ---

    def load_files_in_target(self, schedule_entry: ScheduleEntry) -> bool:
        """Put an entry's files and its call script into the guest; return whether all of them are there.

        A file that is there already is left as it is. Text gets Windows line ends in a Windows guest.
        """
        driver = self._connected()
        problems = load_files(driver, schedule_entry, self._content)
        for problem in problems:
            self.log.error("%s: %s", schedule_entry, problem)
        return not problems

    def preload_files(self) -> None:
        """Put the files of all entries of the VM's schedule into the guest.

        A file that cannot be loaded fails the VM, unless its entry says that failures are ignored. Raises
        ``RuntimeError`` when the VM is unknown, ``ValueError`` for a schedule that is not in vmr's encoding.
        """
        for entry in self._schedule():
            if not self.load_files_in_target(entry) and not entry.ignore_failure:
                self.set_state(VMState.FAILED)
                return

    def run_vm_resource(self, schedule_entry: ScheduleEntry, queue: Any = None) -> None:
        """Do as `_run_vm_resource`, for a thread of its own: an error is in the VM's log and ends nothing else."""
        try:
            self._run_vm_resource(schedule_entry, queue)
        except Exception:
            self.log.exception("%s", schedule_entry)

    def _run_vm_resource(self, schedule_entry: ScheduleEntry, queue: Any = None) -> None:
        """Do what an entry says now, once more than it was done so far, and return when it has ended.

        A program's output is recorded and logged; an entry that asks for a reboot is put into ``queue``. Copies out of
        the guest are made once, or at their interval until `stop`. Pauses and resumes are the schedule's, and nothing
        here. Raises `RuntimeError` when the VM is unknown.
        """
        parts = schedule_entry.to_entries()
        for entry in with_identity(parts, schedule_entry.entry_id or parts[0].id):
            if entry.transfer is not None:
                self._copy_out(entry.id, entry.transfer)
            elif entry.executable is not None or entry.files:
                self._run_entry(entry, schedule_entry, queue)

    def _run_entry(self, entry: Entry, schedule_entry: ScheduleEntry, queue: Any) -> None:
        ended = self.shared_log.run(lambda log: self._vm.run_entry(log, entry))
        if isinstance(ended, EntryFinished) and ended.reboot and queue is not None:
            queue.put(schedule_entry)

    def check_for_reboot(self, reboot_filepath: str) -> bool:
        """Return whether the guest has a file at ``reboot_filepath``, which asks for a reboot."""
        return self._connected().file_exists(reboot_filepath) is True

    def reboot(self) -> None:
        """Reboot the VM and return when its agent answers again. Raises ``RuntimeError`` when the VM is unknown."""
        self.shared_log.run(self._vm.reboot)
        self.log.info("rebooted")

    def transfer_data(
        self, name: str, location: str, interval: float | None = None, destination: str | None = None
    ) -> None:
        """Do as `_transfer_data`, for a thread of its own: an error is in the VM's log and ends nothing else."""
        try:
            self._transfer_data(name, location, interval, destination)
        except Exception:
            self.log.exception("transfer of %s", location)

    def _transfer_data(
        self, name: str, location: str, interval: float | None = None, destination: str | None = None
    ) -> None:
        """Copy files out of the guest, once or every ``interval`` seconds until `stop`; each copy is recorded.

        ``location`` is an absolute path in the guest, and may hold wildcards; ``destination`` an absolute path of a
        folder on this host, by default the handler's own. Files go to ``<destination>/<vm name>/<path in the guest>``,
        when they are new or have changed. ``name`` stands for the transfer in the records. Raises `RuntimeError` when
        the path is not absolute or nothing is there.
        """
        if not is_absolute(location):
            raise RuntimeError(f"transfer of {location!r}: the path in the guest must be absolute")
        self._copy_out(name, Transfer(location, interval=interval, destination=destination))

    def _copy_out(self, name: str, transfer: Transfer) -> None:
        root = self._folder / "transfers"
        found = self.shared_log.run(lambda log: self._vm.transfer(log, name, transfer, root))
        if transfer.interval is None:
            if not found:
                raise RuntimeError(f"transfer of {transfer.location!r}: there is nothing in the guest")
            return
        while not self._stopped.wait(transfer.interval):
            self.shared_log.run(lambda log: self._vm.transfer(log, name, transfer, root))

    # --- output ---

    def print_output(self, schedule_entry: ScheduleEntry, pid: int) -> None:
        """Log what the program ``pid`` of an entry has written since the last such call, in both log files."""
        driver = self._connected()
        for stream_name, number in _STREAMS.items():
            text = (driver.get_stdout if stream_name == "stdout" else driver.get_stderr)(pid) or ""
            done = self._printed.get((pid, stream_name), 0)
            self._printed[pid, stream_name] = len(text)
            output = {"entry": schedule_entry.entry_id or schedule_entry.executable or "", "pid": pid, "fd": number}
            self._print_stream(output, text[done:], stream_name)

    def _print_stream(self, output: Mapping[str, Any], stream: str, stream_name: str) -> None:
        """Log ``stream``, text that a program wrote to its ``stream_name``; ``output`` says which program."""
        if stream:
            self.log_files.write_output(stream, {**output, "stream": stream_name})

    def log_json(self, content: str | Mapping[str, Any]) -> None:
        """Write ``content`` to ``<vm_name>.json``: JSON objects as they are, other lines as ``{"msg": …}``."""
        self.log_files.write_json(content)

    def _schedule(self) -> list[ScheduleEntry]:
        text = self.schedule_db.get(self.name)
        return [] if text is None else decode_schedule(text)

    def _content(self, file: EntryFile) -> bytes | Path:
        """Return what is in an entry's file: its bytes, or this host's copy of it."""
        if file.content is not None:
            return file.content.encode()
        if file.resource is not None:
            return Path(self.vm_resource_store.get_path(file.resource))
        ref = file.object
        assert ref is not None
        return self.shared_log.run(lambda log: log.get_object(ref))


def main(arguments: list[str]) -> None:
    """Run the handler of the VM whose configuration is in the JSON file that is the one argument, until SIGTERM."""
    if len(arguments) != 1:
        sys.exit("usage: python -m vmr.vm_resource_handler CONFIG.json")
    try:
        config = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
        with VMResourceHandler(config) as handler:
            signal.signal(signal.SIGTERM, lambda *_: handler.stop(0))
            handler.run()
    except (VmrError, OSError, ValueError) as error:
        sys.exit(f"{arguments[0]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
