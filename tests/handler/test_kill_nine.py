"""Handlers killed with SIGKILL at random moments, on the stock agent and on a real machine: nothing runs twice, no byte is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.handler.harness import HOST, bodies, ended, program, publish, until
from tests.real import real_guests
from vmr.agent import GuestAgent
from vmr.events import EntryFailed, EntryFinished, EntryLost, EntryStarted, OutputCaptured, Recorded
from vmr.guests import GuestSpec
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile

LINES = 12
PROGRAM = f"""#!/bin/sh
# Leaves a mark for each time that it is run, and prints slowly.
echo "$1" >> /var/executions
number=0
while [ "$number" -lt {LINES} ]; do
  echo "$1 $number"
  echo "$number of $1" >&2
  number=$((number + 1))
  sleep 0.02
done
exit "$2"
"""


def schedule(count: int) -> list[Entry]:
    """Return ``count`` entries, two at each negative time, each printing on both streams and ending with its own exit code."""
    files = (EntryFile("slow.sh", content=PROGRAM, executable=True),)
    times = [-1 - number // 2 for number in range(count)]
    return [
        Entry(id=f"e{number}", start_time=at, executable="slow.sh", arguments=f"e{number} {number % 7}", files=files)
        for number, at in enumerate(times)
    ]


class Forker:
    """Handlers of one log, one at a time, each forked and killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pid = 0

    async def start(self) -> None:
        """Start a handler."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._pid = int(await self._process.stdout.readline())

    def kill(self) -> None:
        """Kill the handler that was started last."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._pid = 0


@asynccontextmanager
async def forker(log: AsyncLog, folder: Path) -> AsyncIterator[Forker]:
    """Yield what starts handlers of ``log``."""
    arguments = [str(log.settings.home), log.db, HOST, str(folder)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.handler.forker",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    handlers = Forker(process)
    try:
        yield handlers
    finally:
        handlers.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def expect_exactly_once(events: Sequence[Recorded], entries: Sequence[Entry], executions: str) -> None:
    """Assert that every program was executed once and recorded once, with every byte that it wrote."""
    assert Counter(executions.split()) == Counter(entry.id for entry in entries)
    assert not bodies(events, EntryLost)
    assert not bodies(events, EntryFailed)
    for kind in (EntryStarted, EntryFinished):
        assert Counter(each.entry for each in bodies(events, kind)) == Counter(entry.id for entry in entries)
    written: dict[tuple[str, str], str] = {}
    for each in bodies(events, OutputCaptured):
        so_far = written.get((each.entry, each.stream), "")
        assert each.offset == len(so_far), "no gap and no repetition"
        written[each.entry, each.stream] = so_far + (each.text or "")
    for entry in entries:
        assert written[entry.id, "stdout"] == "".join(f"{entry.id} {number}\n" for number in range(LINES))
        assert written[entry.id, "stderr"] == "".join(f"{number} of {entry.id}\n" for number in range(LINES))
    codes = {each.entry: each.exit_code for each in bodies(events, EntryFinished)}
    assert codes == {entry.id: int(entry.arguments.split()[1]) for entry in entries}


@pytest.mark.parametrize(("kind", "kills", "count"), [("agent", 150, 90), ("vm", 50, 30)])
async def test_handlers_killed_at_random_moments(
    log: AsyncLog, tmp_path: Path, kind: str, kills: int, count: int
) -> None:
    """However often and whenever a handler dies, the run ends as if there had been one handler all the time."""
    chance = random.Random(20260131)
    guests = real_guests(kind)
    entries = schedule(count)
    sockets = await guests.start([GuestSpec(name="a")], tmp_path / "guests")
    try:
        await publish(log, sockets, {"a": [*entries, program(1, "true")]})
        async with forker(log, tmp_path / "h") as handlers:
            for _ in range(kills):
                await handlers.start()
                await asyncio.sleep(chance.uniform(0.01, 0.35))
                handlers.kill()
            await handlers.start()
            events = await until(log, ended(count + 1, EntryFinished), timeout=120)
        async with GuestAgent(sockets["a"]) as agent:
            executions = (await agent.read_file("/var/executions")).decode()
    finally:
        await guests.stop(tmp_path / "guests")
    ours = {entry.id for entry in entries}
    expect_exactly_once([e for e in events if getattr(e.event.body, "entry", None) in ours], entries, executions)
