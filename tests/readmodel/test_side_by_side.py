"""Two projectors of one database, each a process with a read model of its own, answer side by side; one of them is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.log.test_external_server import Plain
from vmr import events, query_client
from vmr.endpoints import QUEUE_GROUP
from vmr.errors import ProjectorMissingError
from vmr.log import AsyncLog
from vmr.query import PROGRESS_HEADER
from vmr.settings import Settings
from vmr.subjects import query_subject

SILENT = 1.0
PROGRAM = "from vmr.cli import main; raise SystemExit(main())"


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a question again sooner than usual: the tests are to be short."""
    monkeypatch.setattr(query_client, "SILENT_SECONDS", SILENT)


class Projectors:
    """Processes that project one database, each in a home folder of its own, as on hosts of their own."""

    def __init__(self, log: AsyncLog, folder: Path) -> None:
        self._log = log
        self._folder = folder
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        """Start one more, and return it once it answers."""
        before = await self.answering()
        url = self._log.settings.url
        assert url is not None
        home = str(self._folder / f"host-{len(self._processes)}")
        words = ["--home", home, "--url", url, "--db", self._log.db, "service", "projector"]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *words)
        self._processes.append(process)
        async with asyncio.timeout(30):
            while await self.answering() <= before:
                assert process.returncode is None
        return process

    async def answering(self) -> int:
        """Return how many projectors say that they are there."""
        client = self._log.connection.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        await client.publish("$SRV.PING.vmr-queries", b"", reply=inbox)
        ids = set()
        try:
            while True:
                message = await subscription.next_msg(timeout=0.2)
                if message.data:
                    ids.add(msgspec.json.decode(message.data)["id"])
        except TimeoutError:
            return len(ids)
        finally:
            await subscription.unsubscribe()

    async def end(self) -> None:
        """Kill those that still run."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[AsyncLog]:
    """Yield a log on a server that is nobody's own."""
    server = Plain(tmp_path)
    settings = await server.start("-js", "-sd", str(tmp_path / "store"))
    async with await AsyncLog.connect(
        Settings(home=tmp_path / "client", url=settings.url, db="two"), producer="test"
    ) as log:
        yield log
    await server.stop()


@pytest.fixture
async def projectors(outside: AsyncLog, tmp_path: Path) -> AsyncIterator[Projectors]:
    """Yield a way to start projectors."""
    started = Projectors(outside, tmp_path)
    yield started
    await started.end()


class Asking:
    """Asks without a pause, each question after an event that it must reflect."""

    def __init__(self, log: AsyncLog) -> None:
        self._log = log
        self._ending = False
        self.answered = 0
        self.slowest = 0.0

    async def run(self, worker: int) -> None:
        """Publish, ask, compare, until `end`."""
        number = 0
        while not self._ending:
            number += 1
            added = events.VmAdded(server_uuid=f"{worker}", server_name=f"{worker}", state=f"state {number}")
            sequence = await self._log.publish(added)
            begun = time.monotonic()
            answer = await self._log.query("vm_states", after=sequence)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            assert answer.sequence >= sequence
            assert (f"{worker}", f"{worker}", f"state {number}") in answer.rows
            self.answered += 1

    def end(self) -> None:
        """Let every worker end after its question."""
        self._ending = True

    async def more(self, count: int) -> None:
        """Wait until so many more questions have been answered."""
        wanted = self.answered + count
        async with asyncio.timeout(20):
            while self.answered < wanted:  # noqa: ASYNC110 - it is the workers' count
                await asyncio.sleep(0.01)


async def test_one_of_two_is_killed_and_no_question_fails(outside: AsyncLog, projectors: Projectors) -> None:
    """Questions lie unanswered with the one that is killed: they are answered by the other; then one takes over from it."""
    first, _ = await projectors.start(), await projectors.start()
    asking = Asking(outside)
    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(asking.run(worker))
        await asking.more(100)
        os.kill(first.pid, signal.SIGSTOP)  # what is sent to it from now on is never answered
        await asyncio.sleep(0.5)
        first.kill()
        await first.wait()
        await asking.more(100)
        third = await projectors.start()
        await asking.more(50)
        asking.end()
    assert asking.slowest > SILENT, "nothing was lost: the test shows nothing"
    assert asking.slowest < SILENT + 3
    assert third.returncode is None


async def test_when_all_are_gone_the_question_fails(outside: AsyncLog, projectors: Projectors) -> None:
    """The last one dies with a question: its asker learns that nobody is left, and not at the deadline only."""
    only = await projectors.start()
    os.kill(only.pid, signal.SIGSTOP)
    asking = asyncio.create_task(outside.query("vms", timeout=60))
    await asyncio.sleep(0.2)
    only.kill()
    await only.wait()
    with pytest.raises(ProjectorMissingError):
        async with asyncio.timeout(10):
            await asking


async def test_a_silent_service_is_asked_again(log: AsyncLog) -> None:
    """Who says nothing is asked again, on a reply subject of its own, and is told what is given up."""
    client = log.connection.client
    silent = await client.subscribe(query_subject(log.db, "vms"), queue=QUEUE_GROUP)
    cancels = await client.subscribe(query_subject(log.db, "cancel"))
    question = asyncio.create_task(log.query("vms", timeout=20))
    first, second = await silent.next_msg(timeout=5), await silent.next_msg(timeout=5)
    assert first.reply != second.reply
    await second.respond(b'{"sequence":7,"columns":["a"],"rows":[[1]],"types":["INTEGER"]}')
    assert (await question).rows == [(1,)]
    assert (await cancels.next_msg(timeout=5)).data.decode() == first.reply


async def test_a_service_that_was_only_slow_is_waited_for(log: AsyncLog) -> None:
    """When the first one that was asked gives a sign of life after all, the second is told to stop, and the first one's answer counts."""
    client = log.connection.client
    service = await client.subscribe(query_subject(log.db, "vms"), queue=QUEUE_GROUP)
    cancels = await client.subscribe(query_subject(log.db, "cancel"))
    heard: list[float | None] = []
    question = asyncio.create_task(log.query("vms", timeout=20, progress=heard.append))
    first, second = await service.next_msg(timeout=5), await service.next_msg(timeout=5)
    await client.publish(first.reply, b"", headers={PROGRESS_HEADER: "0.25"})
    assert (await cancels.next_msg(timeout=5)).data.decode() == second.reply
    await second.respond(b'{"sequence":6,"columns":["a"],"rows":[[2]],"types":["INTEGER"]}')
    await first.respond(b'{"sequence":7,"columns":["a"],"rows":[[1]],"types":["INTEGER"]}')
    assert (await question).rows == [(1,)]
    assert heard == [0.25]
