"""Named queries over request-reply, with a real server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import pytest

from vmr import events
from vmr.errors import LogUnavailableError, ProjectorBehindError, ProjectorMissingError, QueryError
from vmr.log import AsyncLog
from vmr.projections import load_queries
from vmr.query import Question, encode_question
from vmr.query_client import ask
from vmr.schedule import Entry
from vmr.subjects import query_subject


async def test_a_writer_reads_its_own_writes(queries: AsyncLog) -> None:
    """A query after a publish reflects it, a hundred times in a row."""
    for number in range(100):
        state = f"state {number}"
        added = events.VmAdded(server_uuid="a", server_name="host.net", state=state)
        sequence = await queries.publish(added)
        answer = await queries.query("vm_states")
        assert answer.sequence >= sequence
        assert answer.rows == [("a", "host.net", state)]


async def test_a_query_waits_for_its_sequence_and_is_woken(queries: AsyncLog) -> None:
    """A question that names a sequence of the future is answered as soon as that is there."""
    now = await queries.last_sequence()
    waiting = asyncio.create_task(queries.query("vms", after=now + 2, timeout=10))
    await queries.publish(events.VmAdded(server_uuid="a", server_name="a"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await queries.publish(events.VmAdded(server_uuid="b", server_name="b"))
    answer = await waiting
    assert answer.sequence == now + 2
    assert [row["server_name"] for row in answer.records()] == ["a", "b"]


async def test_a_sequence_that_never_comes_is_an_error_in_time(queries: AsyncLog) -> None:
    """The error comes at the deadline, names both sequences, and holds up nobody else."""
    begun = time.monotonic()
    waiting = asyncio.create_task(queries.query("vms", after=999, timeout=0.5))
    await queries.query("vms", after=0)
    assert time.monotonic() - begun < 0.4
    with pytest.raises(ProjectorBehindError, match=r"is at sequence 0 and did not reach 999 within 0\.5 s"):
        await waiting
    assert 0.4 < time.monotonic() - begun < 1.5


async def test_nobody_answers(log: AsyncLog) -> None:
    """Without a projector a query fails at once and says what to start."""
    with pytest.raises(ProjectorMissingError, match="vmr up"):
        await log.query("vms")


async def test_a_closed_connection_is_no_projector(log: AsyncLog) -> None:
    """Asking on a connection that is closed is an error of the connection, in vmr's own words."""
    client = log.connection.client
    await log.close()
    with pytest.raises(LogUnavailableError, match="no connection"):
        await ask(client, log.db, "vms")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"colour": "red"}, "no parameter 'colour'; the parameters of runs are: run"),
        ({"run": "one"}, "parameter 'run' of runs: 'one' is no whole number of 32 bits"),
        ({"run": 2**31}, "2147483648 is no whole number"),
        ({"run": 1.5}, "1.5 is no whole number"),
        ({"run": [1]}, "is no whole number"),
    ],
)
async def test_wrong_parameters_are_refused(queries: AsyncLog, params: dict[str, str], message: str) -> None:
    """Unknown parameters and values of the wrong type are errors of the asker."""
    with pytest.raises(QueryError, match=message):
        await queries.query("runs", params)


async def test_a_malformed_question_is_refused(queries: AsyncLog) -> None:
    """A request that is no question gets an error header, as any NATS client expects of a micro service."""
    reply = await queries.connection.client.request(query_subject(queries.db, "vms"), b"[1")
    assert reply.headers is not None
    assert reply.headers["Nats-Service-Error-Code"] == "400"
    assert "not a question" in reply.headers["Nats-Service-Error"]


async def test_every_query_can_be_asked_and_is_discoverable(queries: AsyncLog) -> None:
    """Every SQL file is an endpoint of the micro service, with its description, and answers without parameters."""
    reply = await queries.connection.client.request("$SRV.INFO.vmr-queries", b"")
    endpoints = msgspec.json.decode(reply.data)["endpoints"]
    for name, query in load_queries().items():
        assert [one["metadata"]["description"] for one in endpoints if one["name"] == name] == [query.description]
        assert (await queries.query(name)).columns


async def test_ten_thousand_vms_come_in_several_messages(queries: AsyncLog) -> None:
    """An answer larger than a message arrives whole and in order."""
    client = queries.connection.client
    long = "x" * (client.max_payload // 9_000)
    names = [f"{n}.{long}" for n in range(10_000)]
    last = (
        await queries.publish_many(
            [events.VmAdded(server_uuid=str(n), server_name=name) for n, name in enumerate(names)]
        )
    )[-1]
    question = encode_question(Question(after=last))
    first = await client.request(query_subject(queries.db, "vm_states"), question, timeout=20)
    assert first.headers is not None
    assert int(first.headers["Vmr-Parts"]) > 1
    assert len(first.data) < client.max_payload
    answer = await queries.query("vm_states", timeout=20)
    assert [row[1] for row in answer.rows] == names
    assert (await queries.query("not_ready")).rows == [(10_000,)]


async def test_start_time_is_the_earliest_report(queries: AsyncLog) -> None:
    """Times travel as RFC 3339 in UTC; the first start counts, the last launch does."""
    one, two = datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 1, 31, 13, tzinfo=UTC)
    await queries.publish(events.ExperimentLaunched(launch_time=two, name="old"))
    await queries.publish(events.ExperimentLaunched(launch_time=one, name="new"))
    await queries.publish(events.ExperimentStarted(start_time=two))
    await queries.publish(events.ExperimentStarted(start_time=one))
    (row,) = (await queries.query("start_time")).records()
    assert row["name"] == "new"
    assert row["launch_time"] == "2026-01-31T12:00:00.000000Z"
    assert row["start_time"] == "2026-01-31T13:00:00.000000Z"


async def test_summary_says_how_far_every_vm_has_come(queries: AsyncLog) -> None:
    """Per VM what is planned, what ran and how it ended; a second attempt counts in place of the first."""
    entries = tuple(Entry(id=f"{n}/x", start_time=n, executable="x") for n in (1, 2, 3, 4))

    def started(entry: str, attempt: int = 1) -> events.EntryStarted:
        return events.EntryStarted(server_uuid="a", entry=entry, attempt=attempt, name="x", start_time="1")

    def finished(entry: str, code: int, attempt: int = 1) -> events.EntryFinished:
        return events.EntryFinished(server_uuid="a", entry=entry, attempt=attempt, exit_code=code)

    await queries.publish_many(
        [
            events.VmAdded(server_uuid="a", server_name="host.net"),
            events.VmAdded(server_uuid="b", server_name="idle.net"),
            events.SchedulePublished(server_name="host.net", entries=entries),
            *(started("1/x"), finished("1/x", 0), started("2/x"), finished("2/x", 3), started("3/x")),
            *(started("4/x"), finished("4/x", 10), started("4/x", 2), finished("4/x", 0, 2)),
        ]
    )
    host, idle = (await queries.query("summary")).records()
    wanted = {"entries": 4, "attempts": 5, "running": 1, "finished": 3, "failed": 0, "lost": 0, "nonzero": 1}
    assert {name: host[name] for name in wanted} == wanted
    assert (idle["server_name"], idle["entries"], idle["attempts"]) == ("idle.net", None, 0)


async def test_many_ask_at_once(queries: AsyncLog) -> None:
    """Questions beside a stream of events are all answered, each from a sequence that it may have."""
    added = [events.VmAdded(server_uuid=str(n), server_name=str(n)) for n in range(200)]

    async def add_and_count(body: events.VmAdded) -> None:
        sequence = await queries.publish(body)
        answer = await queries.query("vm_states", after=sequence, timeout=20)
        assert answer.sequence >= sequence
        assert body.server_uuid in {row[0] for row in answer.rows}
        assert len(answer.rows) == answer.sequence

    await asyncio.gather(*map(add_and_count, added))
