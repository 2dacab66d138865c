"""The documented interface as its users have it: the settings in force name the test's database, and its queries are answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from tests.interface.in_force import use
from vmr import query_service, shared_log
from vmr.errors import ProjectorMissingError
from vmr.log import Log
from vmr.settings import Settings


@contextlib.contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """Run the projector of a database with its queries, in a thread, while the block runs."""
    loop = asyncio.new_event_loop()
    work = loop.create_task(query_service.main(settings))
    thread = threading.Thread(target=_run, args=(loop, work), name="projector")
    thread.start()
    try:
        _until_answered(settings, thread)
        yield
    finally:
        loop.call_soon_threadsafe(work.cancel)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, work: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(work)


def _until_answered(settings: Settings, thread: threading.Thread) -> None:
    deadline = time.monotonic() + 30
    with Log.connect(settings) as log:
        while True:
            try:
                log.query("last_sequence", timeout=5)
            except ProjectorMissingError:
                assert thread.is_alive()
                assert time.monotonic() < deadline
            else:
                return


@pytest.fixture
def in_force(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings in force: those of this test's database. Nothing answers queries."""
    monkeypatch.setenv("VMR_CONFIG", "")
    use(settings, monkeypatch)
    return settings


@pytest.fixture(autouse=True)
def _nothing_lingers() -> Iterator[None]:
    """End the connections that a test's forgotten objects leave open for the next ones: there are none of its database."""
    yield
    for held in list(shared_log._open.values()):
        held.over = True
        held._close()
    shared_log._open.clear()


@pytest.fixture
def served(in_force: Settings) -> Iterator[Settings]:
    """Return the settings in force: those of this test's database, whose queries are answered."""
    with answering(in_force):
        yield in_force
