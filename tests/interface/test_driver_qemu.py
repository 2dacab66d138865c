"""`QemuGuestAgentDriver` against the stock guest agent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.agent.backends import StockAgent
from tests.interface.agents import LOG, connect_soon, connected_driver, stock_agent
from vmr.agent_messages import ExecStatus
from vmr.drivers import _output
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver


@pytest.fixture(name="agent")
def _agent() -> Iterator[StockAgent]:
    with stock_agent() as agent:
        yield agent


@pytest.fixture(name="driver")
def _driver(agent: StockAgent) -> Iterator[QemuGuestAgentDriver]:
    with connected_driver(agent) as driver:
        yield driver


def shell(driver: QemuGuestAgentDriver, script: str, *arguments: str) -> int:
    """Start a shell script in the guest; return its process id."""
    pid = driver.execute("/bin/sh", ["-c", script, "test", *arguments])
    assert pid is not None
    return pid


class TestConnection:
    """Connecting, synchronizing, and agents that are not there."""

    def test_the_configuration_needs_a_path(self) -> None:
        """No path to the agent is told at once."""
        with pytest.raises(FileNotFoundError, match="'path'"):
            QemuGuestAgentDriver({"vm_name": "vm1"}, LOG)

    def test_connect_returns_the_token_and_learns_the_system(self, agent: StockAgent) -> None:
        """The token is random, the system is this host's."""
        driver = QemuGuestAgentDriver({"path": str(agent.socket)}, LOG)
        connect_soon(driver)
        first, second = driver.connect(), driver.sync()
        assert isinstance(first, int)
        assert first != second
        pretty = next(line for line in Path("/etc/os-release").read_text().splitlines() if "PRETTY_NAME" in line)
        assert driver.target_os == pretty.partition("=")[2].strip('"') == driver.get_os()
        driver.close()

    def test_nothing_listens(self, tmp_path: Path) -> None:
        """Connecting to nothing is an `OSError`; pinging it is False."""
        driver = QemuGuestAgentDriver({"path": str(tmp_path / "none")}, LOG)
        with pytest.raises(OSError, match="ENOENT"):
            driver.connect()
        with pytest.raises(OSError, match="not alive yet"):
            driver.sync()
        assert driver.ping() is False
        driver.close()

    def test_an_agent_that_hangs(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """Every wait ends (FIREWHEEL had none), and the connection is in step again afterwards."""
        agent.stop()
        started = time.monotonic()
        assert driver.ping(timeout=0.2) is False
        with pytest.raises(OSError, match="not alive yet"):
            driver.sync(timeout=0.2)
        with pytest.raises(TimeoutError, match="does not answer"):
            driver.connected(timeout=0.2)
        assert time.monotonic() - started < 3
        agent.resume()
        assert driver.connected() == {}
        assert abs(driver.get_time() - time.time_ns()) < 5e9

    def test_closed_and_connected_again(self, driver: QemuGuestAgentDriver) -> None:
        """A closed driver says so, and can be connected again."""
        driver.close()
        assert driver.ping() is False
        driver.connect()
        assert driver.ping() is True

    def test_close_sets_waiting_threads_free(self, driver: QemuGuestAgentDriver) -> None:
        """A thread that waits for a program gets an error, and is not left waiting for ever."""
        pid = shell(driver, "exec sleep 30")
        ended: list[BaseException] = []

        def wait() -> None:
            try:
                driver.wait_for_exitcode(pid)
            except BaseException as error:  # noqa: BLE001 - this is what the test looks at
                ended.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        driver.close()
        thread.join(10)
        assert not thread.is_alive()
        assert isinstance(ended[0], OSError)
        driver.connect()
        assert driver.evaluate_process_success(shell(driver, 'kill "$1"', str(pid)))


class TestPrograms:
    """Programs, their output and their ends."""

    def test_a_program_with_output(self, driver: QemuGuestAgentDriver) -> None:
        """Exit code, both streams and the cache, as often as somebody asks."""
        pid = shell(driver, "echo out; echo err >&2; exit 3")
        assert driver.wait_for_exitcode(pid) == 3
        for _ in range(2):
            assert (driver.get_stdout(pid), driver.get_stderr(pid), driver.get_exitcode(pid)) == ("out\n", "err\n", 3)
        assert driver.output_cache[pid] == {
            "exited": True,
            "exitcode": 3,
            "stdout": "out\n",
            "stdout_trunc": False,
            "stderr": "err\n",
            "stderr_trunc": False,
        }
        assert driver.evaluate_process_success(pid) is False

    def test_arguments_environment_and_input(self, driver: QemuGuestAgentDriver) -> None:
        """A string is one argument, the environment replaces, the input arrives."""
        pid = driver.execute("/bin/echo", "a b  c")
        assert pid is not None
        assert driver.wait_for_exitcode(pid) == 0
        assert driver.get_stdout(pid) == "a b  c\n"
        pid = driver.async_exec("/bin/sh", ["-c", "cat; echo $A"], env=["A=1 2"], input_data="in\n")
        assert pid is not None
        assert driver.wait_for_exitcode(pid) == 0
        assert driver.get_stdout(pid) == "in\n1 2\n"

    def test_what_cannot_be_started(self, driver: QemuGuestAgentDriver) -> None:
        """The agent's error reply is None, not a `KeyError` (FIREWHEEL's defect 27)."""
        assert driver.execute("/no/such/program") is None

    def test_an_unknown_process(self, driver: QemuGuestAgentDriver) -> None:
        """A process that the agent does not know is an `OSError`."""
        with pytest.raises(OSError, match="guest-exec-status"):
            driver.exec_status(999_999)
        assert 999_999 not in driver.output_cache

    def test_a_running_program(self, driver: QemuGuestAgentDriver) -> None:
        """It has no exit code; killed, it has that of a shell and its signal."""
        pid = shell(driver, "exec sleep 30")
        assert driver.get_exitcode(pid) is None
        assert driver.evaluate_process_success(shell(driver, 'kill -9 "$1"', str(pid)))
        assert driver.wait_for_exitcode(pid) == 137
        assert driver.output_cache[pid]["signal"] == 9

    def test_output_that_is_no_text(self, driver: QemuGuestAgentDriver) -> None:
        """Bytes that are not UTF-8 are escaped, and end nothing (FIREWHEEL's defect 3)."""
        pid = shell(driver, r"printf 'a\377b'")
        assert driver.wait_for_exitcode(pid) == 0
        assert driver.get_stdout(pid) == r"a\xffb"

    def test_pieces_of_output_add_up(self, driver: QemuGuestAgentDriver) -> None:
        """A streaming agent's pieces are joined, also within a character."""
        driver.store_captured_output(7, ExecStatus(exited=False, stdout="é".encode()[:1]))
        assert driver.output_cache[7]["stdout"] == ""
        driver.store_captured_output(7, ExecStatus(exited=True, exit_code=0, stdout="é".encode()[1:] + b"!"))
        assert driver.get_stdout(7) == "é!"
        driver.store_captured_output(8, "plain")
        assert driver.output_cache[8] == {"exited": False, "stdout": "plain"}

    def test_a_process_id_that_is_used_again(
        self, driver: QemuGuestAgentDriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an earlier process left is not said of a later one with its number (FIREWHEEL's defect 6)."""
        start = driver.driver.exec

        async def start_with_a_used_number(*arguments: Any, **options: Any) -> int:
            pid = await start(*arguments, **options)
            driver._output.store(pid, {"exited": True, "exitcode": 99, "stdout": "old"})
            return pid

        monkeypatch.setattr(driver.driver, "exec", start_with_a_used_number)
        pid = shell(driver, "echo new; exit 4")
        assert driver.wait_for_exitcode(pid) == 4
        assert driver.get_stdout(pid) == "new\n"

    def test_the_cache_is_bounded(self, driver: QemuGuestAgentDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        """Programs that ended first are forgotten first; running ones stay."""
        monkeypatch.setattr(_output, "MOST_OUTPUT", 10)
        driver.store_captured_output(1, {"exited": False, "stdout": "running"})
        for pid in (2, 3, 4):
            driver.store_captured_output(pid, {"exited": True, "exitcode": 0, "stdout": "1234"})
        assert list(driver.output_cache) == [1, 4]

    def test_many_threads(self, driver: QemuGuestAgentDriver) -> None:
        """Threads get their own programs' results."""

        def one(number: int) -> str | None:
            pid = shell(driver, 'echo "$1"', str(number))
            assert driver.evaluate_process_success(pid)
            return driver.get_stdout(pid)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(one, range(32))) == [f"{number}\n" for number in range(32)]


class TestFiles:
    """Files in and out."""

    def test_text_of_any_kind(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """Non-ASCII text is written whole (FIREWHEEL's defect 25), and folders are made."""
        path = f"{agent.files}/new/folder/text"
        assert driver.write(path, "schöne Grüße\n") is True
        assert driver.append(path, "日本\n") is True
        assert Path(path).read_text(encoding="utf-8") == "schöne Grüße\n日本\n"
        with pytest.raises(ValueError, match="mode 'r'"):
            driver.write(path, "", "r")

    def test_what_cannot_be_written(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """A folder in the way is False, for the file and for its folder."""
        assert driver._write(agent.files, "x") is False
        assert driver._write(f"{agent.files}/absent/x", "x") is False
        (Path(agent.files) / "file").write_text("")
        assert driver.write(f"{agent.files}/file/x", "x") is False

    def test_copies_in_and_out(self, driver: QemuGuestAgentDriver, agent: StockAgent, tmp_path: Path) -> None:
        """Two equal chunks end no file (FIREWHEEL's defect 29): what comes back is what went in, byte for byte."""
        content = bytes(8192) + os.urandom(400) + bytes(3 << 20)
        (tmp_path / "in").write_bytes(content)
        assert driver.write_from_file(f"{agent.files}/d/copy", str(tmp_path / "in")) is True
        assert driver.read_file(f"{agent.files}/d/copy", PurePosixPath(tmp_path / "out")) is True
        assert (tmp_path / "out").read_bytes() == content
        assert driver.write_from_file(f"{agent.files}/d/copy", str(tmp_path / "in"), "a") is True
        assert (Path(agent.files) / "d/copy").stat().st_size == 2 * len(content)

    def test_nothing_to_copy(self, driver: QemuGuestAgentDriver, agent: StockAgent, tmp_path: Path) -> None:
        """A file that the guest does not have leaves what this host has; one that this host lacks is an `OSError`."""
        (tmp_path / "out").write_text("before")
        assert driver.read_file("/no/such/file", PurePosixPath(tmp_path / "out")) is False
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert (tmp_path / "out").read_text() == "before"
        with pytest.raises(OSError, match="none"):
            driver.write_from_file(f"{agent.files}/x", str(tmp_path / "none"))
        assert not (Path(agent.files) / "x").exists()
        with pytest.raises(FileNotFoundError):
            driver.read_file("/etc/hostname", PurePosixPath(tmp_path / "no" / "folder"))

    def test_open_files(self, driver: QemuGuestAgentDriver, agent: StockAgent, tmp_path: Path) -> None:
        """Handles are written to, from text and from files, and flushed."""
        (tmp_path / "more").write_bytes(b"\0more")
        handle = driver._call(driver.driver.file_open(f"{agent.files}/open", "wb"))
        assert driver.file_write_content(handle, "ü") is True
        assert driver.file_write_from_file(handle, str(tmp_path / "more")) is True
        driver.file_flush(handle)
        assert (Path(agent.files) / "open").read_bytes() == "ü".encode() + b"\0more"
        driver._call(driver.driver.file_close(handle))
        assert driver.file_write_content(handle, "x") is False
        with pytest.raises(OSError, match="guest-file-flush"):
            driver.file_flush(handle)

    def test_existence_deletion_and_flags(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """Names are names, whatever is in them; wildcards match; folders are not deleted."""
        odd = f"{agent.files}/a 'b' $(c) [d]"
        Path(odd).write_text("")
        assert driver.file_exists(odd) is True
        assert driver.file_exists(f"{agent.files}/a *") is True
        assert driver.file_exists(f"{agent.files}/z*") is False
        assert driver.make_file_executable(odd) is True
        assert os.access(odd, os.X_OK)
        assert driver.delete_file(odd) is True
        assert not Path(odd).exists()
        assert driver.delete_file(odd) is True
        assert driver.delete_file(agent.files) is False

    def test_empty_parents_are_deleted(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """Up to the first folder that holds something."""
        (Path(agent.files) / "keep").write_text("")
        assert driver.create_directories(f"{agent.files}/a/b/c") is True
        driver._delete_parent_directories(PurePosixPath(f"{agent.files}/a/b/c"))
        assert [path.name for path in Path(agent.files).iterdir()] == ["keep"]

    def test_lists_of_files(self, driver: QemuGuestAgentDriver, agent: StockAgent) -> None:
        """Folders, wildcards, single files, and only those that are newer."""
        folder = Path(agent.files)
        (folder / "sub").mkdir()
        for name, age in (("old file", 1_000_000_000), ("sub/new", 1_500_000_000)):
            (folder / name).write_text("")
            os.utime(folder / name, (age, age))
        both = [f"{folder}/old file", f"{folder}/sub/new"]
        assert sorted(driver.get_files(str(folder)) or []) == both
        assert driver.get_files(f"{folder}/old*") == both[:1]
        assert driver.get_files(both[0]) == both[:1]
        assert driver.get_files(str(folder), timestamp="2010-01-01") == both[1:]
        assert driver.get_files(str(folder), timestamp="2020-01-01 10:00:00") == []
        assert driver.get_files(str(folder), timestamp="no date") is None
        assert driver.get_files(f"{folder}/none") is None


class TestMachine:
    """The rest of the machine. Commands that would change this host are refused by its agent."""

    def test_interfaces(self, driver: QemuGuestAgentDriver) -> None:
        """The loopback interface is there, in the agent's own words."""
        loopback = next(each for each in driver.network_get_interfaces() if each["name"] == "lo")
        assert loopback["ip-addresses"][0]["ip-address"] == "127.0.0.1"

    def test_refusals(self, driver: QemuGuestAgentDriver) -> None:
        """A refused command is an `OSError` with the agent's words, and the driver goes on."""
        for refused in (driver.reboot, driver.set_time, lambda: driver.set_user_password("root", "x")):
            with pytest.raises(OSError, match="disabled"):
                refused()
        assert driver.ping()

    def test_a_reboot_clears_the_cache(self, driver: QemuGuestAgentDriver) -> None:
        """After a reboot nothing is known of any process."""
        driver.store_captured_output(7, {"exited": True, "exitcode": 0})
        driver._reset_cache()
        assert driver.output_cache == {}
        driver.store_captured_output(7, {"exited": False})
        assert driver.output_cache == {7: {"exited": False}}
