"""`VMResourceHandler` on a real log, with a stock agent that has namespaces and files of its own."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.interface.other_driver import OtherDriver
from tests.real import real_guests
from vmr import drivers
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver
from vmr.errors import InvalidInputError, UnknownVmError
from vmr.events import (
    Body,
    EntryFinished,
    FileTransferred,
    HandlerAttached,
    HandlerDetached,
    OutputCaptured,
    VmRebooted,
    VmStateSet,
)
from vmr.experiment_start import ExperimentStart
from vmr.guests import GuestSpec
from vmr.log import Log, connect
from vmr.schedule_db import encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_event import ScheduleEventType
from vmr.settings import Settings
from vmr.vm_resource_handler import VMResourceHandler

Make = Callable[..., VMResourceHandler]


@pytest.fixture(name="log")
def _log(in_force: Settings) -> Iterator[Log]:
    """Yield a new, empty log whose settings are in force."""
    with connect(settings=in_force) as log:
        yield log


@pytest.fixture(name="agent_socket", scope="module")
def _agent_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the socket of a guest's agent; the tests share the guest, and each is a run of its own."""
    guests = real_guests("agent")
    folder = tmp_path_factory.mktemp("guests")
    yield asyncio.run(guests.start([GuestSpec(name="vm1")], folder))["vm1"]
    asyncio.run(guests.stop(folder))


@pytest.fixture(name="make")
def _make(log: Log, agent_socket: Path, tmp_path: Path) -> Iterator[Make]:
    """Yield a function that makes the handler of a VM that is part of the experiment."""
    made: list[VMResourceHandler] = []

    def make(**config: Any) -> VMResourceHandler:
        log.add_vm("uuid", "vm1")
        known = {"vm_name": "vm1", "vm_uuid": "uuid", "path": str(agent_socket), "log_dir": str(tmp_path / "logs")}
        made.append(VMResourceHandler(known | config))
        return made[-1]

    yield make
    for handler in made:
        handler.close()  # a second time, where the test has done it


def program(time: float, path: str, arguments: str = "", content: str = "") -> ScheduleEntry:
    """Return an entry that runs a program, or the script ``content`` under that name."""
    entry = ScheduleEntry(time)
    entry.set_executable(path, arguments or None)
    if content:
        entry.add_content(path, content, executable=True)
    return entry


def recorded(log: Log, kind: type[Body]) -> list[Any]:
    """Return the bodies of this kind in the log."""
    return [each.event.body for batch in log.read() for each in batch if isinstance(each.event.body, kind)]


def json_lines(handler: VMResourceHandler) -> list[dict[str, Any]]:
    """Return what is in the VM's JSON log."""
    return [json.loads(line) for line in handler.log_files.json_file.read_text(encoding="utf-8").splitlines()]


class TestConfiguration:
    """What a handler is made from."""

    @pytest.mark.parametrize("missing", ["vm_name", "vm_uuid", "path"])
    def test_missing_keys(self, missing: str) -> None:
        """The key that lacks is named, before anything is connected."""
        config = {"vm_name": "vm1", "vm_uuid": "uuid", "path": "/agent"}
        del config[missing]
        with pytest.raises(InvalidInputError, match=missing):
            VMResourceHandler(config)

    def test_drivers(self, make: Make) -> None:
        """The engine chooses the driver."""
        handler = make()
        assert handler._import_drivers() == {QemuGuestAgentDriver}
        assert handler.import_driver() is QemuGuestAgentDriver
        assert VMResourceHandler._check_driver(OtherDriver) is True
        assert VMResourceHandler._check_driver(OtherDriver.__base__) is False
        with pytest.raises(InvalidInputError, match="'XenVM'"):
            make(engine="XenVM").import_driver()

    def test_connecting(self, make: Make) -> None:
        """True when the agent answers, False when nothing listens."""
        handler = make()
        assert handler.connect_to_driver() is True
        assert isinstance(handler.driver, QemuGuestAgentDriver)
        assert handler.connect_to_driver() is True
        absent = make(path="/none/agent")
        assert absent.connect_to_driver() is False
        with pytest.raises(ConnectionError, match="/none/agent"):
            absent.check_for_reboot("/x")

    def test_an_unknown_vm(self, make: Make) -> None:
        """Nothing is recorded for a VM that is not part of the experiment, so that no ghost holds up the start."""
        handler = make(vm_uuid="ghost")
        with pytest.raises(UnknownVmError, match="'ghost'"):
            handler.run()
        with pytest.raises(RuntimeError, match="ghost"):
            handler.set_state("configuring")
        with pytest.raises(UnknownVmError):
            handler._run_vm_resource(program(-1, "true"))
        assert "the handler of vm1 ends" in handler.log_files.text_file.read_text()


class TestSingleThings:
    """What a script does with a guest through the handler."""

    def test_an_entry_is_run_and_recorded(self, make: Make, log: Log) -> None:
        """Its output is in the log, and by whole lines in the VM's own files; each run is an attempt of its own."""
        handler = make()
        script = 'echo \'{"a": 1, "timestamp": "mine"}\'; echo 5; printf "x\\377\\n"; echo é >&2; echo end; exit 4'
        entry = program(-5, "run.sh", content=script)
        handler.run_vm_resource(entry)
        handler.run_vm_resource(entry)
        assert [(each.attempt, each.exit_code) for each in recorded(log, EntryFinished)] == [(1, 4), (2, 4)]
        pieces = [each for each in recorded(log, OutputCaptured) if each.attempt == 1 and each.stream == "stdout"]
        assert b"".join(each.data or each.text.encode() for each in pieces).endswith(b"5\nx\xff\nend\n")
        lines = [line for line in json_lines(handler) if line["vmr"]["attempt"] == 1]
        source = {"vm": "vm1", "entry": pieces[0].entry, "attempt": 1, "stream": "stdout"}
        assert lines[0] == {"a": 1, "timestamp": "mine", "vmr": source}
        assert [line["msg"] for line in lines[1:]] == ["5", "x\\xff", "end", "é"]
        assert lines[4]["vmr"]["stream"] == "stderr"
        assert all(line["timestamp"] for line in lines)
        assert "finished with 4" in handler.log_files.text_file.read_text()

    def test_a_request_for_a_reboot(self, make: Make, log: Log) -> None:
        """Exit code 10 puts the entry into the queue; the reboot returns when the guest is back, and is recorded."""
        handler = make()
        asked: queue.Queue[ScheduleEntry] = queue.Queue()
        entry = program(-5, "exit 10")
        handler._run_vm_resource(program(-6, "true"), asked)
        handler._run_vm_resource(entry, asked)
        assert asked.get_nowait() == entry
        assert asked.empty()
        handler.reboot()
        assert len(recorded(log, VmRebooted)) == 1
        handler._run_vm_resource(entry, asked)
        assert asked.get_nowait() == entry

    def test_files_only_and_missing_files(self, make: Make, log: Log) -> None:
        """Files are put in place by an entry without a program; one that the store lacks fails the entry."""
        handler = make()
        entry = ScheduleEntry(-4)
        entry.add_content("/root/only", "text")
        handler._run_vm_resource(entry)
        assert [each.exit_code for each in recorded(log, EntryFinished)] == [None]
        lacking = program(-3, "true")
        lacking.add_file("file", "no such file")
        handler.run_vm_resource(lacking)
        assert "no such file" in handler.log_files.text_file.read_text()

    def test_a_program_on_the_host(self, make: Make, log: Log) -> None:
        """It runs on this host, and its output is recorded like any other."""
        handler = make()
        on_host = program(-2, "echo", "on the host")
        on_host.on_host = True
        handler._run_vm_resource(on_host)
        assert [each.text for each in recorded(log, OutputCaptured)] == ["on the host\n"]
        assert [line["msg"] for line in json_lines(handler)] == ["on the host"]

    def test_loading_files(self, make: Make, tmp_path: Path) -> None:
        """Content, stored files and the call script; flags only where they are asked for; what is there stays."""
        handler = make()
        handler.vm_resource_store.add_file_from_content(b"\0stored", "stored")
        entry = program(-7, "run.sh", content="echo")
        entry.add_content("/root/plain", "Grüße\n", executable=False)
        entry.add_file("sub/stored", "stored")
        assert handler.load_files_in_target(entry) is True
        driver = handler._connected()
        working = entry.working_dir  # type: ignore[attr-defined]
        for name, content in {"/root/plain": "Grüße\n".encode(), f"{working}/sub/stored": b"\0stored"}.items():
            assert driver.read_file(name, PurePosixPath(tmp_path / "out"))
            assert (tmp_path / "out").read_bytes() == content
        assert driver.file_exists(f"{working}/call_arguments.sh") is True
        pid = driver.execute("/bin/sh", ["-c", f"test -x {working}/run.sh && ! test -x /root/plain"])
        assert pid is not None
        assert driver.evaluate_process_success(pid)
        changed = ScheduleEntry(-7)
        changed.add_content("/root/plain", "other")
        assert handler.load_files_in_target(changed) is True
        assert driver.read_file("/root/plain", PurePosixPath(tmp_path / "out"))
        assert (tmp_path / "out").read_text(encoding="utf-8") == "Grüße\n"
        changed.add_file("/root/absent", "absent")
        assert handler.load_files_in_target(changed) is False
        assert "absent" in handler.log_files.text_file.read_text()

    @pytest.mark.parametrize(("ignored", "states"), [(False, ["failed"]), (True, [])])
    def test_preloading(self, make: Make, log: Log, ignored: bool, states: list[str]) -> None:  # noqa: FBT001
        """A file that is missing fails the VM (FIREWHEEL went on without it), unless its entry says otherwise."""
        handler = make()
        lacking = ScheduleEntry(-3, ignore_failure=ignored)
        lacking.add_file("/root/absent", "absent")
        handler.preload_files()
        handler.schedule_db.put("vm1", encode_schedule([lacking, program(-2, "later.sh", content="echo")]), None)
        handler.preload_files()
        assert [each.state for each in recorded(log, VmStateSet)] == states

    def test_copies_out(self, make: Make, log: Log, tmp_path: Path) -> None:
        """Absolute paths with wildcards; once, and then only what has changed; recorded with its hash."""
        handler = make()
        driver = handler._connected()
        driver.write("/root/out/one", "1")
        driver.write("/root/out/two words", "2")
        for _ in range(2):
            handler.transfer_data("out", "/root/out/*", destination=str(tmp_path / "copies"))
        copied = recorded(log, FileTransferred)
        assert sorted(each.guest_path for each in copied) == ["/root/out/one", "/root/out/two words"]
        assert (tmp_path / "copies/vm1/root/out/two words").read_text() == "2"
        with pytest.raises(RuntimeError, match="must be absolute"):
            handler._transfer_data("x", "relative")
        with pytest.raises(RuntimeError, match="nothing in the guest"):
            handler._transfer_data("x", "/root/none*")
        handler.transfer_data("x", "relative")
        assert "must be absolute" in handler.log_files.text_file.read_text()

    def test_copies_at_an_interval_end_with_the_handler(self, make: Make, log: Log, tmp_path: Path) -> None:
        """They go on until `stop`."""
        handler = make()
        driver = handler._connected()
        driver.write("/root/grows", "1")
        wanted = ("grows", "/root/grows", 0.02, str(tmp_path))
        thread = threading.Thread(target=handler._transfer_data, args=wanted)
        thread.start()
        _until((tmp_path / "vm1/root/grows").exists)
        driver.append("/root/grows", "2")
        _until(lambda: (tmp_path / "vm1/root/grows").read_text() == "12")
        handler.stop(0)
        thread.join(10)
        assert not thread.is_alive()

    def test_printing_output(self, make: Make) -> None:
        """What is new since the last time, with its program, process and stream."""
        handler = make()
        driver = handler._connected()
        pid = driver.execute("/bin/sh", ["-c", "echo out; echo err >&2"])
        assert pid is not None
        driver.wait_for_exitcode(pid)
        entry = program(-1, "/bin/sh")
        handler.print_output(entry, pid)
        handler.print_output(entry, pid)
        handler.log_json('[1]\n{"k": 2}')
        handler.log_json({"d": None})
        lines = json_lines(handler)
        assert [(line["msg"], line["vmr"]["stream"], line["vmr"]["fd"]) for line in lines[:2]] == [
            ("out", "stdout", 1),
            ("err", "stderr", 2),
        ]
        assert {line["vmr"]["pid"] for line in lines[:2]} == {pid}
        assert [line.get("msg", line.get("k", "d")) for line in lines[2:]] == ["[1]", 2, "d"]

    def test_the_file_that_asks_for_a_reboot(self, make: Make) -> None:
        """It is there, or not."""
        handler = make()
        assert handler.check_for_reboot("/root/reboot") is False
        handler._connected().write("/root/reboot", "")
        assert handler.check_for_reboot("/root/reboot") is True


class TestEvents:
    """`get_events`: what a loop of one's own would act on."""

    def test_order(self, make: Make, log: Log) -> None:
        """Negative times one by one, then the start, then what is due; nothing before its time."""
        handler = make()
        entries = [program(-5, "a"), program(-5, "b"), program(-1, "c"), program(1, "d"), program(3600, "e")]
        handler.schedule_db.put("vm1", encode_schedule(entries), None)
        assert [each.get_data().executable for each in handler.get_events()] == ["a", "b"]
        assert [each.get_data().executable for each in handler.get_events()] == ["c"]
        log.start()
        found = handler.get_events() + handler.get_events()
        assert found[0].get_type() is ScheduleEventType.EXPERIMENT_START_TIME_SET
        assert found[1].get_data().executable == "d"
        waiting = threading.Thread(target=handler.get_events)
        waiting.start()
        handler.stop(0)
        waiting.join(10)
        assert not waiting.is_alive()
        assert handler.get_events() == []


class TestRunning:
    """`run`: the whole schedule."""

    @pytest.mark.parametrize("engine", ["QemuVM", "OtherVM"])
    def test_a_schedule(self, make: Make, log: Log, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Negative time, the start, positive time; output in the VM's files; `stop` gives the exit code."""
        monkeypatch.setattr(drivers, "available_drivers", lambda: {OtherDriver, QemuGuestAgentDriver})
        handler = make(engine=engine)
        entries = [
            program(-2, "echo", "first"),
            program(-1, "sh", "-c 'echo second; exit 3'"),
            program(1, "echo", "last"),
        ]
        handler.schedule_db.put("vm1", encode_schedule(entries), None)
        log.launch(start_buffer=0)
        ended: list[object] = []
        thread = threading.Thread(target=_run, args=(handler, ended))
        thread.start()
        _until(lambda: len(recorded(log, EntryFinished)) == 3)
        _until(lambda: "last" in handler.log_files.json_file.read_text())
        handler.stop(7)
        thread.join(20)
        assert ended == [7]
        assert [each.exit_code for each in recorded(log, EntryFinished)] == [0, 3, 0]
        assert [line["msg"] for line in json_lines(handler)] == ["first", "second", "last"]
        assert [each.state for each in recorded(log, VmStateSet)] == ["configuring", "configured"]

    def test_a_second_handler_goes_on(self, make: Make, log: Log) -> None:
        """A successor runs nothing again."""
        first = make()
        first.schedule_db.put("vm1", encode_schedule([program(-2, "echo", "once")]), None)
        second = VMResourceHandler(first.config)
        for number, handler in enumerate((first, second), 1):
            ended: list[object] = []
            thread = threading.Thread(target=_run, args=(handler, ended))
            thread.start()
            _until(lambda count=number: len(recorded(log, HandlerAttached)) == count)  # type: ignore[misc]
            _until(lambda: "configured" in [each.state for each in recorded(log, VmStateSet)])
            handler.stop(0)
            thread.join(20)
            assert ended == [None]
            handler.close()
        assert len(recorded(log, EntryFinished)) == 1

    def test_as_a_process(self, log: Log, agent_socket: Path, settings: Settings, tmp_path: Path) -> None:
        """``python -m`` with a file runs the handler until SIGTERM; what is wrong is told in one line."""
        log.add_vm("uuid", "vm1")
        log.put_schedule("vm1", [])
        config = tmp_path / "vm1.json"
        config.write_text(json.dumps({"vm_name": "vm1", "vm_uuid": "uuid", "path": str(agent_socket)}))
        command = [sys.executable, "-m", "vmr.vm_resource_handler"]
        with subprocess.Popen([*command, str(config)]) as process:
            _until(lambda: "configured" in [each.state for each in recorded(log, VmStateSet)])
            process.terminate()
        assert process.returncode == 0
        assert [each.reason for each in recorded(log, HandlerDetached)] == ["stopped"]
        assert (settings.database_dir / "logs" / "vm1.log").exists()
        config.write_text('{"vm_name": "vm1"}')
        for arguments, word in (([], "CONFIG.json"), (["/none"], "/none"), ([str(config)], "no 'vm_uuid'")):
            wrong = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
            assert (wrong.returncode, wrong.stderr.count("\n"), word in wrong.stderr) == (1, 1, True)


@pytest.mark.usefixtures("served")
class TestStates:
    """`set_state` and `set_current_time`, which need the read model."""

    def test_the_last_vm_that_is_ready_starts_the_experiment(self, make: Make, log: Log) -> None:
        """Not before; and a failed VM is not ready."""
        handler = make()
        log.add_vm("other", "vm2")
        handler.set_current_time(-30)
        handler.set_state("configured")
        with ExperimentStart() as start:
            assert start.get_start_time() is None
            log.set_vm_state("other", "n/a")
            handler.set_state("failed")
            assert start.get_start_time() is None
            handler.set_state("configured")
            assert start.get_start_time() is not None
        vm = handler.mapping.get("uuid")
        assert vm is not None
        assert (vm["state"], vm["current_time"]) == ("configured", "-30")


def _run(handler: VMResourceHandler, ended: list[object]) -> None:
    try:
        handler.run()
    except SystemExit as error:
        ended.append(error.code)
    else:
        ended.append(None)


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for ``condition``, which only a bound ends otherwise."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        try:
            if condition():
                return
        except FileNotFoundError:
            pass
        waited.wait(0.02)
    raise AssertionError("not within the bound")
