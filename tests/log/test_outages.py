"""What the log promises when the server dies or the way to it breaks: nothing lost, nothing doubled, errors that say what to do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from vmr.errors import (
    CredentialError,
    LogUnavailableError,
    ProjectorMissingError,
    PublishError,
    ServerNotFoundError,
)
from vmr.events import VmAdded
from vmr.log import AsyncLog, read_identity
from vmr.log._publisher import Publisher
from vmr.log._wire import ConnectionLostError
from vmr.server import EmbeddedServer
from vmr.settings import Settings


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """Yield a running server that only this test uses."""
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    await server.start(die_with_parent=True)
    yield server
    await server.stop()


async def kill(server: EmbeddedServer) -> None:
    """Kill the server where it stands."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


async def kill_and_restart(server: EmbeddedServer, times: int, pause: float) -> None:
    """Kill the server ``times`` times, ``pause`` seconds apart, and start it again each time."""
    for _ in range(times):
        await asyncio.sleep(pause)
        await kill(server)
        await server.start(die_with_parent=True)


async def test_kill_9_while_publishing_loses_and_doubles_nothing(own: EmbeddedServer) -> None:
    """3,000 events from 30 tasks over three kills: each acknowledged event is there, once, at the sequence that was answered."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        answered: dict[str, int] = {}

        async def publisher(number: int) -> None:
            for n in range(100):
                uuid = f"{number}-{n}"
                answered[uuid] = await log.publish(VmAdded(server_uuid=uuid, server_name="x"))
                await asyncio.sleep(0.005)

        killer = asyncio.create_task(kill_and_restart(own, 3, 0.25))
        await asyncio.gather(*map(publisher, range(30)), killer)
        stored = {one.event.body.server_uuid: one.sequence async for batch in log.read() for one in batch}  # type: ignore[union-attr]
        assert len(answered) == 3000
        assert stored == answered
        assert await log.last_sequence() == 3000


async def test_kill_9_in_the_middle_of_large_batches_keeps_order_and_once(own: EmbeddedServer) -> None:
    """20,000 events in one call over two kills arrive as one row without a hole."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        killer = asyncio.create_task(kill_and_restart(own, 2, 0.12))
        sequences = await log.publish_many(VmAdded(server_uuid=str(n), server_name="x") for n in range(20_000))
        await killer
        assert sequences == list(range(1, 20_001))
        found = [one.event.body.server_uuid async for batch in log.read() for one in batch]  # type: ignore[union-attr]
        assert found == [str(n) for n in range(20_000)]


async def test_following_over_restarts_has_no_gap_and_no_repeat(own: EmbeddedServer) -> None:
    """A follower sees 1..n while the server is killed three times under it."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        seen: list[int] = []

        async def follow() -> None:
            async with aclosing(log.follow()) as batches:
                async for batch in batches:
                    seen.extend(one.sequence for one in batch)
                    if seen[-1] >= 1500:
                        return

        async def publish() -> None:
            for n in range(1500):
                await log.publish(VmAdded(server_uuid=str(n), server_name="x"))

        async with asyncio.timeout(60):
            await asyncio.gather(follow(), publish(), kill_and_restart(own, 3, 0.2))
        assert seen == list(range(1, 1501))


async def test_an_idle_follower_wakes_up_after_a_restart(own: EmbeddedServer) -> None:
    """A reader that was waiting when the server died sees the next event within a second or two."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        batches = log.follow()
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0.1)
        await kill_and_restart(own, 1, 0)
        began = time.monotonic()
        await log.pause()
        assert [one.sequence for one in await asyncio.wait_for(waiting, 10)] == [1]
        assert time.monotonic() - began < 3.0


async def test_a_server_that_moved_to_another_port_is_found(own: EmbeddedServer) -> None:
    """Its old port was taken while it was down: connections made before follow it to the new one."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        assert await log.pause() == 1
        port = read_identity(own.folder).port
        await own.stop()
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", port))
            squatter.listen()
            own._port_seconds = 0.1
            await own.start(die_with_parent=True)
        assert read_identity(own.folder).port != port
        assert await log.resume() == 2


async def test_publishing_without_a_server_ends_with_an_error(own: EmbeddedServer) -> None:
    """Retries are bounded; the error says that the events may or may not be stored."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        log._publisher._writer.patience = 0.5
        await own.stop()
        began = time.monotonic()
        with pytest.raises(
            PublishError, match=r"1 event\(s\) not acknowledged within 0\.5 s, may or may not be stored"
        ):
            await log.pause()
        assert 0.3 < time.monotonic() - began < 3.0
        await own.start(die_with_parent=True)
        # What was on its way when the server went may arrive late, as the error says.
        assert await log.resume() in {1, 2}


async def test_a_batch_that_landed_unheard_answers_with_its_sequences(own: EmbeddedServer) -> None:
    """The acknowledgement of a batch is lost: the retry finds what landed instead of storing it twice."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)) as log:
        publisher = log._publisher
        deaf = _deafen_once(publisher)
        sequences = await log.publish_many(VmAdded(server_uuid=str(n), server_name="x") for n in range(50))
        assert deaf == [1]
        assert sequences == list(range(1, 51))
        assert await log.last_sequence() == 50


def _deafen_once(publisher: Publisher) -> list[int]:
    """Let the first batch land and its acknowledgement get lost; the returned list gets an item then."""
    original, done = publisher._connection.request, list[int]()

    async def request(*args: object, **options: object) -> object:
        answer = await original(*args, **options)  # type: ignore[arg-type]
        if not done and b'"batch"' in answer:
            done.append(1)
            raise ConnectionLostError("the connection was lost")
        return answer

    publisher._connection.request = request  # type: ignore[method-assign,assignment]
    return done


async def test_no_server_says_what_to_type(tmp_path: Path) -> None:
    """Neither a folder without a server nor an address without one keeps the caller waiting."""
    with pytest.raises(ServerNotFoundError, match="vmr up"):
        await AsyncLog.connect(Settings(home=tmp_path))
    began = time.monotonic()
    with pytest.raises(ServerNotFoundError, match=r"no server answers at nats://127\.0\.0\.1:1 .*VMR_URL"):
        await AsyncLog.connect(Settings(home=tmp_path, url="nats://127.0.0.1:1"))
    with pytest.raises(ServerNotFoundError, match="no server answers"):
        await AsyncLog.connect(Settings(home=tmp_path, url="nats://no-such-host.invalid:4222"))
    assert time.monotonic() - began < 8.0


async def test_a_stopped_server_says_what_to_type(own: EmbeddedServer) -> None:
    """The folder remembers a server that does not run any more."""
    await own.stop()
    with pytest.raises(ServerNotFoundError, match="vmr up"):
        await AsyncLog.connect(Settings(home=own.folder.parent))


async def test_a_wrong_credential_is_told_from_a_missing_server(server: EmbeddedServer, tmp_path: Path) -> None:
    """Neither no password nor a wrong one is accepted, and the error does not repeat it."""
    with pytest.raises(CredentialError, match="does not accept the credential"):
        await AsyncLog.connect(Settings(home=tmp_path, url=server.url))
    wrong = server.url.replace("nats://", "nats://vmr:hunter2@")
    with pytest.raises(CredentialError, match="VMR_CREDENTIALS") as caught:
        await AsyncLog.connect(Settings(home=tmp_path, url=wrong))
    assert "hunter2" not in str(caught.value)


async def test_a_missing_credentials_file_is_named(server: EmbeddedServer, tmp_path: Path) -> None:
    """A path that leads nowhere is the caller's mistake, not the server's."""
    settings = Settings(home=tmp_path, url=server.url, credentials=tmp_path / "none.creds")
    with pytest.raises(CredentialError, match=r"none\.creds does not exist: check VMR_CREDENTIALS"):
        await AsyncLog.connect(settings)


async def test_a_missing_database_is_named_when_it_may_not_be_made(settings: Settings) -> None:
    """A reader with a mistyped name must not create a database."""
    with pytest.raises(LogUnavailableError, match=rf"no database '{settings.db}'.*VMR_DB"):
        await AsyncLog.connect(settings, create=False)


async def test_the_embedded_server_is_power_safe(log: AsyncLog) -> None:
    """Its own report says that it syncs before it acknowledges."""
    assert log.power_safe is True


async def test_no_projector_is_told(log: AsyncLog) -> None:
    """A question that nobody answers fails at once."""
    with pytest.raises(ProjectorMissingError, match="vmr up"):
        await log.query("vms")


async def test_a_credential_is_not_in_what_is_logged(own: EmbeddedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither connecting nor losing the connection writes the password anywhere."""
    async with await AsyncLog.connect(Settings(home=own.folder.parent)):
        await kill_and_restart(own, 1, 0)
    said = capsys.readouterr()
    assert "connection lost" in said.err
    assert read_identity(own.folder).password not in said.out + said.err
