"""The shared connection: one per process and database, whatever the threads, forks and forgotten objects."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vmr import shared_log
from vmr.errors import LogUnavailableError
from vmr.events import VmAdded
from vmr.experiment_start import ExperimentStart
from vmr.log import Log
from vmr.settings import Settings
from vmr.shared_log import SharedLog
from vmr.vm_mapping import VMMapping

_FOREIGN: set[threading.Thread] = set()
"""Connections that other tests' objects still had when a test here began."""


def _connections() -> int:
    return sum(thread.name == "vmr log" for thread in threading.enumerate() if thread not in _FOREIGN)


@pytest.fixture(autouse=True)
def _no_connection_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections that other tests' objects left end first; what does not end soon is somebody's, and is not counted."""
    monkeypatch.setattr(shared_log, "LINGER_SECONDS", 0.2)
    _FOREIGN.clear()
    gc.collect()
    deadline = time.monotonic() + 3
    while _connections() and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    _FOREIGN.update(thread for thread in threading.enumerate() if thread.name == "vmr log")


def test_objects_share_one_connection(in_force: Settings) -> None:
    """Many objects of one database have one connection; another database has its own; the last close() ends it."""
    mappings = [VMMapping() for _ in range(5)]
    start = ExperimentStart()
    assert _connections() == 1
    other = VMMapping(db=f"{in_force.db}_other")
    assert _connections() == 2
    other.close()
    for mapping in mappings:
        mapping.close()
        mapping.close()
    assert _connections() == 1
    assert start.get_start_time() is None
    start.close()
    assert _connections() == 0


def test_a_closed_object_says_so(in_force: Settings) -> None:
    """Using it is a ConnectionError, also while another object keeps the connection."""
    kept, closed = SharedLog(in_force), SharedLog(in_force)
    closed.close()
    with pytest.raises(LogUnavailableError, match="closed"):
        closed.run(lambda log: log.last_sequence())
    assert kept.run(lambda log: log.last_sequence()) == 0
    kept.close()


def test_forgotten_objects_leave_no_connection_behind(in_force: Settings) -> None:
    """The connection of an object that is no more stays for the next one for a moment, and then ends."""
    assert VMMapping().db == in_force.db
    gc.collect()
    assert _connections() == 1
    assert ExperimentStart().get_start_time() is None
    assert _connections() == 1
    gc.collect()
    deadline = time.monotonic() + 10
    while _connections():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_a_connection_that_was_closed_for_good_is_made_again(in_force: Settings) -> None:
    """As after a revoked credential: one call fails, the next ones have a new connection, and the old one ends."""
    with SharedLog(in_force) as share:
        share.run(lambda log: log.connection.close())
        with pytest.raises(ConnectionError, match="closed"):
            share.publish(VmAdded(server_uuid="u1", server_name="a"))
        assert share.publish(VmAdded(server_uuid="u1", server_name="a")) == 1
        deadline = time.monotonic() + 10
        while _connections() > 1:
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        assert share.run(lambda log: log.last_sequence()) == 1


def test_an_answer_is_kept_until_the_log_moves(served: Settings) -> None:
    """The read model is asked again when any process has written, and not before."""
    with SharedLog(served) as share, SharedLog(served) as other:
        first = share.query("vm_states")
        assert share.query("vm_states") is other.query("vm_states") is first
        with Log.connect(served) as log:
            log.add_vm("u1", "a")
        assert share.query("vm_states").rows == [("u1", "a", "uninitialized")]
        assert share.query("vm_times", {"time": "-1"}).rows == []


def test_many_threads_connect_once(in_force: Settings) -> None:
    """Threads that are first at the same time share what one of them makes."""
    with ThreadPoolExecutor(50) as pool:
        shares = list(pool.map(lambda _: SharedLog(in_force), range(50)))
    assert _connections() == 1
    for share in shares:
        share.close()


async def test_it_works_where_a_loop_runs_already(in_force: Settings) -> None:
    """A notebook's cell runs inside a loop."""
    assert asyncio.get_running_loop().is_running()
    with ExperimentStart() as start:
        assert start.db == in_force.db
        assert start.add_start_time() == start.get_start_time()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_objects_go_on_in_a_forked_child(in_force: Settings) -> None:
    """A child uses its parent's objects over a connection of its own; the parent's is not disturbed."""
    with VMMapping() as mapping:
        mapping.put("u1", "a")
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=mapping.set_vm_state_by_uuid, args=("u1", f"child {n}")) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
        assert [child.exitcode for child in children] == [0, 0, 0]
        vm = mapping.get("u1")
        assert vm is not None
        assert vm["state"].startswith("child ")
        assert vm["db"] == in_force.db


SCRIPT = """
import os, sys
from vmr.events import VmAdded
from vmr.experiment_start import ExperimentStart
from vmr.log import Log
from vmr.vm_mapping import VMMapping
start, mapping = ExperimentStart(), VMMapping()
mapping.put("u", "n")
if os.fork() == 0:
    VMMapping().set_vm_time_by_uuid("u", -1)
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]), mapping.get("u")["current_time"], start.get_start_time(), flush=True)
"""


def test_fork_and_exit_are_clean(in_force: Settings) -> None:
    """Nothing is closed, and yet parent and child exit at once, without a word on stderr."""
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning"]  # newer Pythons warn of every fork beside threads
    done = subprocess.run(
        [sys.executable, *warnings, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 -1 None", in_force
    assert done.stderr == ""
