"""Reading and following: everything, in order, once, whatever happens to consumer, connection and server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from vmr.errors import DataError, InvalidInputError
from vmr.events import ExperimentPaused, Recorded, Unknown, VmAdded, VmStateSet, subject_of
from vmr.log import AsyncLog
from vmr.log import _feed as feed_module
from vmr.log._feed import Feed
from vmr.server import EmbeddedServer
from vmr.settings import Settings
from vmr.subjects import all_events, entity_subject


def vms(count: int) -> list[VmAdded]:
    """Return ``count`` events about as many VMs."""
    return [VmAdded(server_uuid=str(n), server_name=f"vm-{n}") for n in range(count)]


async def collect(log: AsyncLog, count: int, *, start: int = 1, filters: list[str] | None = None) -> list[Recorded]:
    """Return the first ``count`` events that following yields."""
    found: list[Recorded] = []
    async with asyncio.timeout(30), aclosing(log.follow(filters, start)) as batches:
        async for batch in batches:
            found += batch
            if len(found) >= count:
                break
    return found


async def test_an_empty_log_reads_as_nothing(log: AsyncLog) -> None:
    """`read` ends at once when there is nothing, also past the end."""
    assert [batch async for batch in log.read()] == []
    await log.pause()
    assert [batch async for batch in log.read(start=2)] == []


async def test_a_recorded_event_is_what_was_published(log: AsyncLog) -> None:
    """Sequence, subject, body, and the server's time to the nanosecond."""
    before = time.time_ns()
    await log.publish(VmStateSet(server_uuid="a.b", state="configured", reason="größer"))
    [[recorded]] = [batch async for batch in log.read()]
    assert recorded.sequence == 1
    assert recorded.subject == f"vmr.{log.db}.vm.a=2Eb.state_set"
    assert recorded.event.body == VmStateSet(server_uuid="a.b", state="configured", reason="größer")
    assert before - 10**8 < recorded.stored < time.time_ns() + 10**8
    assert recorded.stored % 1000 or recorded.stored % 10**6


async def test_read_keeps_to_start_and_stop(log: AsyncLog) -> None:
    """Both ends are part of what is read."""
    await log.publish_many(vms(20))
    assert [one.sequence async for batch in log.read(start=5, stop=9) for one in batch] == [5, 6, 7, 8, 9]
    assert [one.sequence async for batch in log.read(start=18, stop=99) for one in batch] == [18, 19, 20]


async def test_filters_select_and_keep_the_order(log: AsyncLog) -> None:
    """Subjects and wildcards, also when what they match ends long before the log does."""
    await log.publish_many(vms(50))
    await log.publish_many([VmStateSet(server_uuid=str(n), state="configured") for n in range(50)])
    filters = [entity_subject(log.db, "vm", "7", "*"), subject_of(log.db, vms(4)[3])]
    assert [one.sequence async for batch in log.read(filters) for one in batch] == [4, 8, 58]
    assert [batch async for batch in log.read([entity_subject(log.db, "vm", "nobody", "*")])] == []


async def test_thousands_of_filters(log: AsyncLog) -> None:
    """A handler's reader names each of its VMs."""
    await log.publish_many(vms(3100))
    filters = [entity_subject(log.db, "vm", str(n), "*") for n in range(3003)]
    assert sum([len(batch) async for batch in log.read(filters)]) == 3003


async def test_filters_that_make_too_large_a_request_are_refused(log: AsyncLog) -> None:
    """The limit is checked before the request would end the connection."""
    filters = [entity_subject(log.db, "vm", f"{n:0>1000}", "*") for n in range(9000)]
    with pytest.raises(InvalidInputError, match="9,000 filters take"):
        await collect(log, 1, filters=filters)
    assert await log.pause() == 1


async def test_filters_that_overlap_are_refused(log: AsyncLog) -> None:
    """The server's own words say so."""
    with pytest.raises(InvalidInputError, match="overlap"):
        await collect(log, 1, filters=[all_events(log.db), entity_subject(log.db, "vm", "1", "*")])


async def test_follow_goes_from_history_to_what_is_new(log: AsyncLog) -> None:
    """What is published while it follows arrives within milliseconds, after the history."""
    await log.publish_many(vms(30))
    following = asyncio.create_task(collect(log, 40, start=11))
    await asyncio.sleep(0.1)
    sequences = await log.publish_many(vms(20))
    published = time.monotonic()
    found = await following
    assert time.monotonic() - published < 1.0
    assert [one.sequence for one in found] == list(range(11, sequences[-1] + 1))


async def test_two_followers_and_a_reader_do_not_disturb_each_other(log: AsyncLog) -> None:
    """Each has a consumer of its own."""
    first, second = (asyncio.create_task(collect(log, 500)) for _ in range(2))
    await log.publish_many(vms(500))
    found = [one async for batch in log.read() for one in batch]
    assert found == await first == await second
    assert len(found) == 500


async def test_more_bytes_than_one_request_may_bring(log: AsyncLog) -> None:
    """Forty events of a megabyte: a request ends at its limit of bytes, the next goes on."""
    text = "x" * 1_000_000
    await log.publish_many(VmStateSet(server_uuid=str(n), state="failed", reason=text) for n in range(40))
    assert [one.sequence async for batch in log.read() for one in batch] == list(range(1, 41))


async def test_a_slow_follower_gets_everything(log: AsyncLog) -> None:
    """The server is held back while a batch is worked on; memory stays bounded and nothing is dropped."""
    await log.publish_many(vms(3000))
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1, max_batch=100)
    found: list[int] = []
    async with aclosing(feed.batches(stop=3000)) as batches:
        async for batch in batches:
            assert len(batch) <= 100
            assert len(feed._arrived) <= 400
            found += [raw.sequence for raw in batch]
            await asyncio.sleep(0.001)
    assert found == list(range(1, 3001))


async def test_one_request_at_a_time(log: AsyncLog) -> None:
    """What the server may send is bounded: it hangs up on a client that asks for more than it takes."""
    await log.publish_many(vms(3000))
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1, max_batch=50)
    async with aclosing(feed.batches(stop=3000)) as batches:
        found = [raw.sequence async for batch in batches for raw in batch]
    assert found == list(range(1, 3001))
    assert feed._pulls == 3000 // 200


async def test_a_message_dropped_on_the_way_is_noticed_and_read_again(log: AsyncLog) -> None:
    """The consumer's numbering has a hole: the feed makes a new consumer after the last message it has handed over."""
    await log.publish_many(vms(1000))
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1, max_batch=50)
    received, dropped = feed._on_data, 0

    def lossy(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        nonlocal dropped
        if data.find(b'"server_uuid":"777"') > 0 and not dropped:
            dropped += 1
        else:
            received(subject, reply, data, headers)

    feed._on_data = lossy  # type: ignore[method-assign]
    found = [raw.sequence async for batch in feed.batches(stop=1000) for raw in batch]
    assert dropped == 1
    assert found == list(range(1, 1001))


async def test_a_consumer_deleted_by_somebody_is_made_again(log: AsyncLog) -> None:
    """The server says that it is gone, or nobody answers; following goes on where it was."""
    await log.publish_many(vms(10))
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
    batches = feed.batches()
    assert len(await anext(batches)) == 10
    waiting = asyncio.create_task(anext(batches))
    await asyncio.sleep(0.05)
    await log.connection.api(f"CONSUMER.DELETE.VMR_{log.db}.{feed._consumer}", answer=dict)
    await log.publish_many(vms(5))
    assert [raw.sequence for raw in await asyncio.wait_for(waiting, 5)] == list(range(11, 16))
    await batches.aclose()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pull requests end, and servers give signs of life, within fractions of a second."""
    quick = feed_module._Definition(
        feed_module._definition().reader, {"expires": 300_000_000, "idle_heartbeat": 100_000_000}
    )
    monkeypatch.setattr(feed_module, "_definition", lambda: quick)


@pytest.mark.usefixtures("hasty")
async def test_an_idle_follower_asks_again_and_again(log: AsyncLog) -> None:
    """A pull request ends after a while without messages; the next one brings what comes then, from the same consumer."""
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
    batches = feed.batches()
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.05)
    consumer = feed._consumer
    await asyncio.sleep(0.9)
    assert await log.pause() == 1
    assert [raw.sequence for raw in await asyncio.wait_for(waiting, 5)] == [1]
    assert feed._consumer == consumer
    await batches.aclose()


@pytest.mark.usefixtures("hasty")
async def test_a_server_that_falls_silent_is_noticed(tmp_path: Path) -> None:
    """Without a sign of life the consumer is not believed any more; when the server is back, reading goes on where it was."""
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    await server.start(die_with_parent=True)
    try:
        async with await AsyncLog.connect(Settings(home=tmp_path)) as log:
            await log.publish_many(vms(5))
            feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
            batches = feed.batches()
            assert len(await anext(batches)) == 5
            consumer = feed._consumer
            waiting = asyncio.ensure_future(anext(batches))
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(0.8)
            os.kill(server.pid, signal.SIGCONT)
            await log.publish_many(vms(5))
            assert [raw.sequence for raw in await asyncio.wait_for(waiting, 10)] == [6, 7, 8, 9, 10]
            assert feed._consumer != consumer
            await batches.aclose()
    finally:
        await server.stop()


async def test_leaving_removes_the_consumer(log: AsyncLog) -> None:
    """Nothing stays on the server of a reader that has gone."""
    await log.pause()
    await collect(log, 1)
    async with asyncio.timeout(5):
        while (await log.connection.api(f"CONSUMER.NAMES.VMR_{log.db}", answer=dict))["total"]:  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)


async def test_reading_past_the_end_of_a_log_that_lost_its_tail_is_an_error(log: AsyncLog) -> None:
    """A reader that knows sequence 10 of a log that ends at 3 must not go on as if nothing were missing."""
    await log.publish_many(vms(3))
    with pytest.raises(DataError, match="ends at 3 but 10 was read"):
        await collect(log, 1, start=11)


async def test_a_feed_reads_the_same_on_the_usual_way_of_the_client(
    log: AsyncLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nats-py hands nothing over, its callbacks bring every message, with the time at which it says that it was stored."""
    await log.publish_many(vms(300))
    await log.connection.request(
        f"vmr.{log.db}.experiment.paused",
        b"{}",
        headers={"Nats-Msg-Id": "x", "Vmr-Stored": "1700000000000000001"},
        timeout=5,
    )
    quick = [raw async for batch in Feed(log.connection, f"VMR_{log.db}", None, 1).batches(stop=301) for raw in batch]
    monkeypatch.setattr(log.connection.client, "hand_over", lambda _subscription, _take: None)
    usual = [raw async for batch in Feed(log.connection, f"VMR_{log.db}", None, 1).batches(stop=301) for raw in batch]
    assert usual == quick
    assert quick[-1].stored == 1_700_000_000_000_000_001


async def test_a_hole_in_the_stream_is_an_error(settings: Settings) -> None:
    """Events that were removed from the middle make what is folded of the rest wrong."""
    async with await AsyncLog.connect(settings) as log:
        await log.publish_many(vms(10))
        feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
        received = feed._on_data

        def holed(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
            tokens = reply.split(b".")
            if int(tokens[5]) >= 5:
                tokens[5] = b"%d" % (int(tokens[5]) + 1)
            received(subject, b".".join(tokens), data, headers)

        feed._on_data = holed  # type: ignore[method-assign]
        with pytest.raises(DataError, match="hole between 0 and 11"):
            await anext(feed.batches(stop=10))


async def test_what_is_no_event_is_kept_and_does_not_stop_readers(log: AsyncLog) -> None:
    """Foreign bytes on a subject of the log become an `Unknown` that holds them."""
    await log.pause()
    await log.connection.request(f"vmr.{log.db}.experiment.paused", b"\xff\x00 no event", timeout=5)
    await log.resume()
    found = [one async for batch in log.read() for one in batch]
    assert isinstance(found[0].event.body, ExperimentPaused)
    assert isinstance(found[1].event.body, Unknown)
    assert found[1].event.body.type == "unreadable"
    assert b"/wAgbm8gZXZlbnQ=" in found[1].event.body.raw
    assert len(found) == 3
