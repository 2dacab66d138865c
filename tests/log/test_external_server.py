"""A server that somebody else runs: its limits count, and what it does not promise is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from vmr.errors import EventTooLargeError, JetStreamMissingError
from vmr.log import AsyncLog
from vmr.schedule import Entry, EntryFile
from vmr.server import find_executable
from vmr.settings import Settings


class Plain:
    """A nats-server with its own defaults, as an operator may run it, on ports of its choice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.monitor = 0

    async def start(self, *options: str) -> Settings:
        """Start the server; return settings that lead to it."""
        command = [str(find_executable()), "-a", "127.0.0.1", "-p", "-1", *options]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stderr=asyncio.subprocess.PIPE)
        assert self._process.stderr is not None
        async with asyncio.timeout(10):
            async for line in self._process.stderr:
                if b"http monitor on" in line:
                    self.monitor = int(line.rpartition(b":")[2])
                if b"client connections on 127.0.0.1:" in line:
                    self.url = f"nats://127.0.0.1:{int(line.rpartition(b':')[2])}"
                if b"Server is ready" in line:
                    break
        return Settings(home=self._folder, url=self.url)

    async def stop(self) -> None:
        """End the server."""
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Plain]:
    """Yield a server that is to be started with the options of a test."""
    server = Plain(tmp_path)
    yield server
    await server.stop()


async def test_a_server_without_jetstream_is_told(plain: Plain) -> None:
    """A plain NATS server keeps nothing; the error says how to start one that does."""
    with pytest.raises(JetStreamMissingError, match="nats-server -js"):
        await AsyncLog.connect(await plain.start())


async def test_a_server_that_does_not_say_whether_it_syncs(plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a report there is no promise: the log works, and warns."""
    async with await AsyncLog.connect(await plain.start("-js", "-sd", "js")) as log:
        assert log.power_safe is None
        assert await log.pause() == 1
    assert "may not be power-safe" in capsys.readouterr().err


async def test_a_server_that_reports_that_it_does_not_sync(
    plain: Plain, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An external server with its monitoring port open is asked there; the default of two minutes is no durability."""
    settings = await plain.start("-js", "-sd", "js", "-m", "-1")
    monkeypatch.setattr("vmr.log._power._MONITOR_PORT", plain.monitor)
    async with await AsyncLog.connect(settings) as log:
        assert log.power_safe is False
    said = capsys.readouterr().err
    assert "ACKNOWLEDGEMENTS ARE NOT POWER-SAFE" in said
    assert "sync_interval_seconds=120" in said


async def test_another_server_s_report_is_not_believed(
    plain: Plain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What listens on the usual port may be anybody: its report counts only with the id of the server that we talk to."""
    (tmp_path / "other").mkdir()
    other = Plain(tmp_path / "other")
    await other.start("-js", "-sd", "js", "-m", "-1")
    monkeypatch.setattr("vmr.log._power._MONITOR_PORT", other.monitor)
    try:
        async with await AsyncLog.connect(await plain.start("-js", "-sd", "js")) as log:
            assert log.power_safe is None
    finally:
        await other.stop()


async def test_the_server_s_own_payload_limit_counts(plain: Plain) -> None:
    """With the default of 1 MiB: events are checked against it, chunks and large schedules fit into it."""
    async with await AsyncLog.connect(await plain.start("-js", "-sd", "js")) as log:
        with pytest.raises(EventTooLargeError, match="the server takes 1,048,576 at most"):
            await log.set_vm_state("u", "failed", reason="x" * 1_048_300)
        assert await log.set_vm_state("u", "failed", reason="x" * 1_048_000) == 1
        content = b"0123456789" * 300_000
        assert await log.get_object(await log.put_object(content)) == content
        entry = Entry(id="1/x", start_time=1, executable="x", files=(EntryFile("x", content="y" * 2_000_000),))
        assert await log.put_schedule("a", [entry]) == 2


async def test_one_of_several_servers_is_enough(plain: Plain) -> None:
    """Of a list of addresses the first that answers is taken."""
    settings = await plain.start("-js", "-sd", "js")
    several = msgspec.structs.replace(settings, url=f"nats://127.0.0.1:1, {settings.url}")
    async with await AsyncLog.connect(several) as log:
        assert await log.pause() == 1
