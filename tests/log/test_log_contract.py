"""What a handler and its tests rely on in a log, held against the real one and the one in memory alike."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from vmr.errors import ConflictError, DataError, EventTooLargeError, InvalidInputError, PublishError
from vmr.eventlog import Fence
from vmr.events import HandlerAttached, KnownBody, OutputCaptured, Recorded, VmAdded, VmStateSet, new_event, subject_of
from vmr.log import AsyncLog
from vmr.schedule import Entry, ObjectRef
from vmr.settings import Settings
from vmr.subjects import all_events, entity_subject
from vmr.testing import MemoryLog

AnyLog = AsyncLog | MemoryLog


@pytest.fixture(params=["real", "memory", "memory with delays"])
async def either(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[AnyLog]:
    """Yield a connection to a new, empty log of each kind."""
    if request.param == "real":
        async with await AsyncLog.connect(settings, producer="test") as log:
            yield log
    else:
        delay = None if request.param == "memory" else lambda: 0.002
        async with MemoryLog(producer="test", delay=delay) as memory:
            yield memory


def added(number: int) -> VmAdded:
    """Return an event about VM ``number``."""
    return VmAdded(server_uuid=str(number), server_name=f"vm-{number}")


def attached(handler: str) -> HandlerAttached:
    """Return an attachment of VM ``u``."""
    return HandlerAttached(server_uuid="u", handler=handler, host="h")


async def stored(log: AnyLog, filters: list[str] | None = None, **range_: int) -> list[Recorded]:
    """Return what is there now."""
    return [each async for batch in log.read(filters, **range_) for each in batch]


async def followed(log: AnyLog, count: int, filters: list[str] | None = None, start: int = 1) -> list[int]:
    """Return the first ``count`` sequences that following yields."""
    found: list[int] = []
    async with asyncio.timeout(20), aclosing(log.follow(filters, start)) as batches:
        async for batch in batches:
            found += [each.sequence for each in batch]
            if len(found) >= count:
                return found
    raise AssertionError("a log that is followed does not end")


async def test_sequences_count_from_one_in_the_order_of_the_calls(either: AnyLog) -> None:
    """Concurrent calls of one connection are stored in their order, and the log knows its last."""
    calls = [either.publish(added(0)), either.publish_many([added(1), added(2)]), either.publish(added(3))]
    assert await asyncio.gather(*calls) == [1, [2, 3], 4]
    assert await either.last_sequence() == either.last_published == 4
    assert [each.event.body for each in await stored(either)] == [added(number) for number in range(4)]


async def test_nothing_is_no_event(either: AnyLog) -> None:
    """An empty log is empty, also after publishing nothing."""
    assert await either.publish_many([]) == []
    assert await either.last_sequence() == 0
    assert await stored(either) == []


async def test_a_recorded_event_says_where_and_by_whom(either: AnyLog) -> None:
    """Subject, producer and body are those that were published."""
    await either.set_vm_state("a.b", "configured", reason="größer")
    [recorded] = await stored(either)
    assert recorded.subject == entity_subject(either.db, "vm", "a.b", "state_set")
    assert recorded.event.producer == "test"
    assert recorded.event.body == VmStateSet(server_uuid="a.b", state="configured", reason="größer")
    assert recorded.stored // 10**9 == pytest.approx(recorded.event.time.timestamp(), abs=10)


async def test_an_id_that_is_there_is_not_stored_again(either: AnyLog) -> None:
    """Repeats answer with the sequence that the event has, alone and among others."""
    events = [new_event(added(number), producer="test") for number in range(3)]
    assert await either.publish_events(events[1:2]) == [1]
    assert await either.publish_events(events) == [2, 1, 3]
    assert await either.last_sequence() == 3


async def test_an_expectation_holds_or_nothing_is_stored(either: AnyLog) -> None:
    """The last sequence of the subject decides, whatever is stored on others."""
    first = await either.publish_expecting(attached("a"), 0)
    await either.publish(added(1))
    with pytest.raises(ConflictError, match=r"handler_attached.*read again"):
        await either.publish_expecting(attached("b"), 0)
    assert await either.publish_expecting(attached("b"), first) == 3


async def test_a_fence_lets_events_through_until_somebody_writes_behind_it(either: AnyLog) -> None:
    """Who was fenced off stores nothing more, not even a part; the others' calls at the same time go on."""
    subject = subject_of(either.db, attached("a"))
    first = Fence(subject, await either.publish_expecting(attached("a"), 0))
    bodies: list[KnownBody] = [added(1), VmStateSet(server_uuid="u", state="configuring")]
    assert await either.publish_many(bodies, fence=first) == [2, 3]
    second = Fence(subject, await either.publish_expecting(attached("b"), first.sequence))
    calls = [either.publish_many(bodies, fence=fence) for fence in (second, first, second)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [results[0], results[2]] == [[5, 6], [7, 8]]
    assert isinstance(results[1], ConflictError)
    assert await either.last_sequence() == 8


async def test_a_call_with_an_event_that_is_too_large_stores_nothing(either: AnyLog) -> None:
    """The size is checked before anything is stored."""
    large = OutputCaptured(
        server_uuid="u", entry="1/x", attempt=1, stream="stdout", offset=0, size=1, data=b"x" * 9_000_000
    )
    with pytest.raises(EventTooLargeError, match="object store"):
        await either.publish_many([added(1), large])
    assert await either.last_sequence() == 0


async def test_reading_keeps_to_its_range_and_its_filters(either: AnyLog) -> None:
    """Both ends belong to the range; wildcards are for one token, or for all the rest."""
    await either.publish_many([added(number) for number in range(10)])
    await either.publish_many([VmStateSet(server_uuid=str(number), state="configured") for number in range(10)])
    await either.pause()
    assert [each.sequence for each in await stored(either, start=5, stop=7)] == [5, 6, 7]
    assert [each.sequence for each in await stored(either, start=20, stop=99)] == [20, 21]
    db = either.db
    chosen = [entity_subject(db, "vm", "7", "*"), subject_of(db, added(3)), entity_subject(db, "experiment", None, ">")]
    assert [each.sequence for each in await stored(either, chosen)] == [4, 8, 18, 21]
    assert [each.sequence for each in await stored(either, [f"vmr.{db}.vm.*.state_set"], stop=13)] == [11, 12, 13]
    assert len(await stored(either, [all_events(db)])) == 21
    assert await stored(either, [f"vmr.{db}.vm.7"]) == []


async def test_filters_that_overlap_are_refused(either: AnyLog) -> None:
    """A filter that selects all that another does is refused; two that only have subjects in common are not."""
    await either.publish(added(1))
    wide = f"vmr.{either.db}.vm.>"
    for second in (
        wide,
        entity_subject(either.db, "vm", "1", "*"),
        f"vmr.{either.db}.vm.*.added",
        all_events(either.db),
    ):
        with pytest.raises(InvalidInputError, match="overlap"):
            await followed(either, 1, [wide, second])
    assert await followed(either, 1, [wide, f"vmr.{either.db}.*.1.added"]) == [1]


async def test_following_goes_from_what_is_there_to_what_comes(either: AnyLog) -> None:
    """In order, once, from where it was asked to begin."""
    await either.publish_many([added(number) for number in range(600)])
    task = asyncio.create_task(followed(either, 700, start=11))
    await asyncio.sleep(0.01)
    for number in range(110):
        await either.publish(added(number))
    assert await task == list(range(11, 711))


async def test_following_skips_what_is_filtered_out(either: AnyLog) -> None:
    """What does not match is passed over, before and after the follower came."""
    await either.publish_many([added(number) for number in range(5)])
    task = asyncio.create_task(followed(either, 2, [entity_subject(either.db, "vm", "3", ">")]))
    await asyncio.sleep(0.01)
    await either.publish_many([added(1), added(3)])
    assert await task == [4, 7]


async def test_objects_are_there_under_their_hash(either: AnyLog, tmp_path: Path) -> None:
    """Bytes and files go in; bytes and files come out; what is missing is an error."""
    (tmp_path / "in").write_bytes(b"\0" * 200_000)
    ref = await either.put_object(tmp_path / "in")
    assert ref == ObjectRef(hashlib.sha256(b"\0" * 200_000).hexdigest(), 200_000)
    assert await either.get_object(await either.put_object(b"small")) == b"small"
    await either.fetch_object(ref, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"\0" * 200_000
    with pytest.raises(DataError):
        await either.get_object(ObjectRef("0" * 64, 3))


async def test_what_publishers_say_most_often_has_methods(either: AnyLog) -> None:
    """Schedules and launches are published by the same methods."""
    await either.put_schedule("vm", [Entry(id="1/x", start_time=1, executable="x")])
    await either.launch("name", start_buffer=0)
    assert [each.event.type for each in await stored(either)] == ["schedule.published", "experiment.launched"]


async def test_closing_stores_what_was_asked_for_and_refuses_more(either: AnyLog) -> None:
    """Calls under way are answered; later ones say that the connection is closed."""
    tasks = [asyncio.create_task(either.publish(added(number))) for number in range(20)]
    await asyncio.sleep(0)
    await either.close()
    await either.close()
    assert await asyncio.gather(*tasks) == list(range(1, 21))
    with pytest.raises(PublishError, match="closed"):
        await either.publish(added(99))
