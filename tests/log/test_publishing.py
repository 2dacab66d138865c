"""Publishing: durable, in order, once, with the sequences that the log gave."""

from __future__ import annotations

import asyncio

import pytest

from vmr.errors import ConflictError, EventTooLargeError, InvalidInputError, PublishError
from vmr.events import HandlerAttached, OutputCaptured, VmAdded, VmStateSet, new_event
from vmr.log import AsyncLog
from vmr.log._client import HistoryClient
from vmr.log._events import to_message
from vmr.log._wire import NobodyListensError
from vmr.settings import Settings


async def everything(log: AsyncLog) -> list[str]:
    """Return the uuids of all events of ``log``, in order."""
    return [recorded.event.body.server_uuid async for batch in log.read() for recorded in batch]  # type: ignore[union-attr]


async def test_concurrent_publishers_get_distinct_sequences_in_the_order_of_their_calls(log: AsyncLog) -> None:
    """200 tasks at once: the sequences are those of the calls' order, and the log agrees."""
    sequences = await asyncio.gather(*(log.publish(VmAdded(server_uuid=str(n), server_name="x")) for n in range(200)))
    assert sequences == list(range(1, 201))
    assert await everything(log) == [str(n) for n in range(200)]
    assert log.last_published == await log.last_sequence() == 200


async def test_many_events_of_one_call_keep_their_order_over_several_batches(log: AsyncLog) -> None:
    """2,500 events need three batches and arrive as one row."""
    sequences = await log.publish_many(VmAdded(server_uuid=str(n), server_name="x") for n in range(2500))
    assert sequences == list(range(1, 2501))
    assert await everything(log) == [str(n) for n in range(2500)]


async def test_publishing_nothing_is_no_event(log: AsyncLog) -> None:
    """An empty call returns no sequences and writes nothing."""
    assert await log.publish_many([]) == []
    assert await log.last_sequence() == 0


async def test_an_expectation_that_holds_publishes(log: AsyncLog) -> None:
    """The expected sequence is the last of the subject, 0 when the subject is new."""
    first = await log.publish_expecting(HandlerAttached(server_uuid="u", handler="a", host="h"), 0)
    await log.publish(VmStateSet(server_uuid="u", state="configured"))
    assert await log.publish_expecting(HandlerAttached(server_uuid="u", handler="b", host="h"), first) == 3


async def test_an_expectation_that_fails_is_a_conflict_and_publishes_nothing(log: AsyncLog) -> None:
    """Somebody else's event on the subject refuses ours."""
    await log.publish(HandlerAttached(server_uuid="u", handler="a", host="h"))
    with pytest.raises(ConflictError, match=r"handler_attached.*read again"):
        await log.publish_expecting(HandlerAttached(server_uuid="u", handler="b", host="h"), 0)
    assert await log.last_sequence() == 1


async def test_a_conflict_among_concurrent_calls_fails_its_own_caller_only(log: AsyncLog) -> None:
    """A batch refused for one event's sake still lands, without that event and in order."""
    await log.publish(HandlerAttached(server_uuid="taken", handler="a", host="h"))
    calls = [log.publish(VmAdded(server_uuid=str(n), server_name="x")) for n in range(20)]
    calls.insert(10, log.publish_expecting(HandlerAttached(server_uuid="taken", handler="b", host="h"), 0))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(10), ConflictError)
    assert results == list(range(2, 22))
    assert await everything(log) == ["taken", *(str(n) for n in range(20))]


async def test_expectations_are_group_committed(log: AsyncLog) -> None:
    """Handlers take many VMs at once: every expectation of a shared batch is checked."""
    bodies = [HandlerAttached(server_uuid=str(n), handler="a", host="h") for n in range(300)]
    assert sorted(await asyncio.gather(*(log.publish_expecting(body, 0) for body in bodies))) == list(range(1, 301))


async def test_an_event_that_is_there_already_is_not_stored_again(log: AsyncLog) -> None:
    """The event's id is the message id: sending it again answers with its sequence, alone or in a batch."""
    events = [new_event(VmAdded(server_uuid=str(n), server_name="x"), producer="test") for n in range(5)]
    assert await log.publish_events(events[1:3]) == [1, 2]
    assert await log.publish_events(events) == [3, 1, 2, 4, 5]
    assert await everything(log) == ["1", "2", "0", "3", "4"]


async def test_an_expected_event_that_landed_unheard_is_recognised(log: AsyncLog) -> None:
    """The answer to a first try is lost: the second must not call our own event a conflict."""
    event = new_event(HandlerAttached(server_uuid="u", handler="a", host="h"), producer="test")
    await log.publish_events([event])
    assert await log._publisher.publish([to_message(log.db, event, expected=0)]) == [1]


async def test_an_event_that_is_too_large_is_named_and_nothing_is_sent(log: AsyncLog) -> None:
    """The size is checked before anything is sent, so the connection lives and the other events of the call stay out."""
    large = OutputCaptured(
        server_uuid="u", entry="1/x", attempt=1, stream="stdout", offset=0, size=1, data=b"x" * 9_000_000
    )
    with pytest.raises(EventTooLargeError, match=r"vm\.u\.output_captured takes 12,\d+,\d+ bytes.*object store"):
        await log.publish_many([VmAdded(server_uuid="u", server_name="x"), large])
    assert await log.last_sequence() == 0
    assert await log.publish(VmAdded(server_uuid="u", server_name="x")) == 1


async def test_a_name_that_makes_no_subject_is_refused_before_it_is_sent(log: AsyncLog) -> None:
    """A subject longer than the server's protocol line would end the connection."""
    with pytest.raises(InvalidInputError, match="shorten the name"):
        await log.publish(VmAdded(server_uuid="ü" * 1000, server_name="x"))
    assert await log.publish(VmAdded(server_uuid="ü" * 100, server_name="x")) == 1


async def test_large_events_are_cut_into_batches_by_size(log: AsyncLog) -> None:
    """Twelve events of a megabyte each land in order."""
    bodies = [
        OutputCaptured(
            server_uuid=str(n), entry="1/x", attempt=1, stream="stdout", offset=0, size=1, text="x" * 1_000_000
        )
        for n in range(12)
    ]
    assert await asyncio.gather(*map(log.publish, bodies)) == list(range(1, 13))
    assert await everything(log) == [str(n) for n in range(12)]


async def test_a_cancelled_caller_leaves_the_others_whole(log: AsyncLog) -> None:
    """Of 100 calls every third is cancelled at once: the rest land once, in order, and nothing hangs."""
    tasks = [asyncio.create_task(log.publish(VmAdded(server_uuid=str(n), server_name="x"))) for n in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [result for result in results if isinstance(result, int)]
    assert len(kept) == 66
    assert kept == sorted(kept)
    stored = await everything(log)
    assert len(stored) == len(set(stored))
    assert {str(n) for n in range(100) if n % 3} <= set(stored)


async def test_closing_publishes_what_was_asked_for_and_refuses_more(settings: Settings) -> None:
    """`close` waits for events under way; a later call says that the connection is closed."""
    log = await AsyncLog.connect(settings, producer="test")
    tasks = [asyncio.create_task(log.publish(VmAdded(server_uuid=str(n), server_name="x"))) for n in range(50)]
    await asyncio.sleep(0)
    await log.close()
    await log.close()
    assert await asyncio.gather(*tasks) == list(range(1, 51))
    with pytest.raises(PublishError, match="closed"):
        await log.publish(VmAdded(server_uuid="late", server_name="x"))


async def test_a_few_concurrent_calls_each_get_their_own_answer(log: AsyncLog) -> None:
    """Few events go out side by side: in order, each with its sequence, and a conflict is its own caller's."""
    await log.publish(HandlerAttached(server_uuid="taken", handler="a", host="h"))
    calls = [log.publish(VmAdded(server_uuid=str(n), server_name="x")) for n in range(6)]
    calls.insert(3, log.publish_expecting(HandlerAttached(server_uuid="taken", handler="b", host="h"), 0))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(3), ConflictError)
    assert results == list(range(2, 8))
    assert await everything(log) == ["taken", *(str(n) for n in range(6))]


async def test_answers_are_the_same_on_the_usual_way_of_the_client(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nats-py hands nothing over, its callbacks bring every answer, and the word that nobody listens."""
    monkeypatch.setattr(HistoryClient, "hand_answers_over", lambda *_: None)
    async with await AsyncLog.connect(settings) as log:
        assert [await log.publish(VmAdded(server_uuid=str(n), server_name="x")) for n in range(3)] == [1, 2, 3]
        assert await log.last_sequence() == 3
        with pytest.raises(NobodyListensError, match=r"nobody listens on nothing\.here"):
            await log.connection.request("nothing.here", timeout=5)
    monkeypatch.undo()
    async with await AsyncLog.connect(settings) as log:
        with pytest.raises(NobodyListensError, match=r"nobody listens on nothing\.here"):
            await log.connection.request("nothing.here", timeout=5)
