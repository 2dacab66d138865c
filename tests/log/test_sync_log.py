"""The synchronous face: threads, notebooks, forks and the interpreter's exit."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vmr.log
from vmr.errors import DataError, LogUnavailableError, PublishError
from vmr.events import VmAdded, VmStateSet
from vmr.log import Log
from vmr.schedule import Entry, ObjectRef
from vmr.settings import Settings


def test_everything_works_without_an_event_loop(settings: Settings, tmp_path: Path) -> None:
    """Publish, read, store and fetch through one connection."""
    source = tmp_path / "tool.bin"
    source.write_bytes(bytes(range(256)))
    with vmr.log.connect(settings=settings, producer="me") as log:
        assert log.db == settings.db
        assert log.add_vm("u", "client-1", control_ip="10.0.0.1") == 1
        assert log.add_vms([VmAdded(server_uuid="v", server_name="client-2")]) == [2]
        assert log.put_schedule("client-1", [Entry(id="1/ls", start_time=1, executable="ls")]) == 3
        assert log.put_resource(source) == 4
        assert (log.launch("x"), log.start(), log.pause(1.5), log.resume(), log.clear()) == (5, 6, 7, 8, 9)
        assert log.last_published == log.last_sequence() == 9
        recorded = [one for batch in log.read() for one in batch]
        assert [one.sequence for one in recorded] == list(range(1, 10))
        assert {one.event.producer for one in recorded} == {"me"}
        ref = recorded[3].event.body.object  # type: ignore[union-attr]
        log.fetch_object(ref, tmp_path / "copy.bin")
        assert (tmp_path / "copy.bin").read_bytes() == source.read_bytes() == log.get_object(ref)


def test_many_threads_share_one_connection(settings: Settings) -> None:
    """Eight threads publish 50 events each: 400 distinct sequences."""
    with Log.connect(settings) as log, ThreadPoolExecutor(8) as pool:
        bodies = [VmStateSet(server_uuid=str(n), state="configured") for n in range(400)]
        assert sorted(pool.map(log.publish, bodies)) == list(range(1, 401))


async def test_it_works_where_a_loop_runs_already(settings: Settings) -> None:
    """A notebook's cell runs inside a loop."""
    asyncio.get_running_loop()
    with Log.connect(settings) as log:
        assert log.pause() == 1


def test_follow_yields_what_comes_later_and_can_be_left(settings: Settings) -> None:
    """An iteration that is left ends its consumer; the log goes on."""
    with Log.connect(settings) as log:
        log.pause()
        batches = log.follow()
        assert [one.sequence for one in next(batches)] == [1]
        log.resume()
        assert [one.sequence for one in next(batches)] == [2]
        batches.close()  # type: ignore[attr-defined]
        assert log.pause() == 3


def test_errors_come_through(settings: Settings) -> None:
    """An error on the loop's thread is the caller's."""
    with Log.connect(settings) as log, pytest.raises(DataError, match="not in the object store"):
        log.get_object(ObjectRef("0" * 64, 1))


def test_a_closed_log_says_so(settings: Settings) -> None:
    """Closing twice is fine, using it afterwards is an error."""
    log = Log.connect(settings)
    log.close()
    log.close()
    with pytest.raises(LogUnavailableError, match="closed"):
        log.pause()


def test_closing_ends_other_threads_waiting(settings: Settings) -> None:
    """A thread that follows and one that publishes are told that the log is closed; neither hangs."""
    log = Log.connect(settings)
    assert log.pause() == 1
    reading, publishing = threading.Event(), threading.Event()

    def follow() -> None:
        for _ in log.follow():
            reading.set()

    def publish() -> None:
        while True:
            log.resume()
            publishing.set()

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(follow), pool.submit(publish)]
        assert reading.wait(10)
        assert publishing.wait(10)
        log.close()
        errors = [future.exception(timeout=10) for future in waiting]
    assert all(isinstance(error, (LogUnavailableError, PublishError)) for error in errors), errors
    assert all("closed" in str(error) for error in errors)


def test_a_forgotten_log_ends_its_thread(settings: Settings) -> None:
    """Without close() and without references nothing stays behind."""
    before = set(threading.enumerate())
    log = Log.connect(settings)
    made = [thread for thread in threading.enumerate() if thread.name == "vmr log" and thread not in before]
    assert len(made) == 1
    del log
    gc.collect()
    assert not made[0].is_alive()


def test_a_log_forgotten_on_its_own_thread_ends_as_well(settings: Settings) -> None:
    """The garbage collector runs on any thread, also on the one that a log would have to wait for."""
    log = Log.connect(settings)
    runner = log._runner

    async def forget(_log: object) -> None:
        log._finalizer()

    log.run(forget)
    runner._thread.join(10)
    assert not runner._thread.is_alive()


SCRIPT = """
import os, sys
from pathlib import Path
from vmr.errors import LogUnavailableError
from vmr.log import Log
from vmr.settings import Settings
log = Log.connect(Settings(home=Path(sys.argv[1]), db=sys.argv[2]))
print(log.pause(), flush=True)
if os.fork() == 0:
    try:
        log.pause()
    except LogUnavailableError as error:
        print(error, flush=True)
    sys.exit(0)
os.wait()
print(log.pause(), flush=True)
"""


def test_fork_and_exit_are_clean(settings: Settings) -> None:
    """A forked child is told to connect again; parent and child exit at once, without a word on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(settings.home), settings.db],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if "[" not in line]
    assert lines == ["1", "this log was made by another process: connect again after a fork", "2"]
    assert done.stderr == ""
