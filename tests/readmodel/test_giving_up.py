"""Long answers: who waits hears how far they are, and who gives up stops them, without a trace."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from tests.readmodel.histories import record
from vmr import events
from vmr.errors import QueryError
from vmr.log import AsyncLog
from vmr.offline import open_offline
from vmr.projector import Projector
from vmr.query import Question, encode_question
from vmr.subjects import query_subject

ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE hash(a.range, b.range) % 7 = 1"
LONG = "SELECT count(*), sum(hash(range) % 1000), max(sqrt(range)) FROM range(100000000000)"


async def _given_up(log: AsyncLog, sql: str, seconds: float, as_of: str | None = None) -> list[float | None]:
    """Ask ``sql``, give it up after ``seconds``, and return what was heard meanwhile."""
    heard: list[float | None] = []
    asking = asyncio.create_task(log.query("sql", {"sql": sql}, timeout=60, progress=heard.append, as_of=as_of))
    await asyncio.sleep(seconds)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    return heard


async def test_giving_up_stops_the_statement(people: AsyncLog) -> None:
    """Twice as many endless statements as there are readers are given up: nothing goes on computing, and the log was followed."""
    asking = [asyncio.create_task(_given_up(people, ENDLESS, 1)) for _ in range(4)]
    await asyncio.sleep(0.5)
    last = await people.publish(events.VmAdded(server_uuid="a", server_name="a"))
    await asyncio.gather(*asking)
    begun = time.monotonic()
    answer = await people.query("sql", {"sql": "SELECT count(*) FROM vms"}, after=last)
    assert answer.rows == [(1,)]
    assert time.monotonic() - begun < 1
    spent = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - spent < 0.25


async def test_giving_up_the_past_leaves_the_present(people: AsyncLog) -> None:
    """The connection that looked into the past when it was interrupted looks at the present again."""
    await people.publish(events.VmAdded(server_uuid="a", server_name="a"))
    await people.publish(events.VmAdded(server_uuid="b", server_name="b"))
    for _ in range(4):
        await _given_up(people, f"SELECT (SELECT count(*) FROM vms), ({ENDLESS})", 0.3, as_of="1")  # noqa: S608 - the test's own
    for _ in range(4):
        assert (await people.query("sql", {"sql": "SELECT count(*) FROM vms"})).rows == [(2,)]


async def test_signs_of_life_and_progress(people: AsyncLog) -> None:
    """While a statement runs, the asker hears how far it is."""
    heard = await _given_up(people, LONG, 1.6)
    assert len(heard) >= 2
    assert all(fraction is None or 0 <= fraction <= 1 for fraction in heard)
    assert heard[-1] is not None


async def test_an_asker_that_died_is_noticed(people: AsyncLog) -> None:
    """Askers whose answers nobody hears any more leave nothing running: both readers are free for the next question."""
    client = people.connection.client
    question = encode_question(Question(params={"sql": ENDLESS}, deadline=60, signs=0.2))
    heard = [await client.subscribe(client.new_inbox()) for _ in range(2)]
    for one in heard:
        await client.publish(query_subject(people.db, "sql"), question, reply=one.subject)
    for one in heard:
        await one.next_msg(timeout=5)  # it is being worked on
        await one.unsubscribe()
    begun = time.monotonic()
    assert (await people.query("sql", {"sql": "SELECT 1"}, timeout=30)).rows == [(1,)]
    assert time.monotonic() - begun < 3


async def test_any_client_can_give_up(people: AsyncLog) -> None:
    """A message with the reply subject stops the work on the question, and no other reply subject does."""
    client = people.connection.client
    question = encode_question(Question(params={"sql": ENDLESS}, deadline=60, signs=0.2))
    heard = [await client.subscribe(client.new_inbox()) for _ in range(2)]
    for one in heard:
        await client.publish(query_subject(people.db, "sql"), question, reply=one.subject)
    for one in heard:
        await one.next_msg(timeout=5)
    for given_up in ("", "*", ">", f"{heard[0].subject}.x"):
        await client.publish(query_subject(people.db, "cancel"), given_up.encode())
    await client.flush()
    for one in heard:
        for _ in range(one.pending_msgs + 1):  # both are still at work
            await one.next_msg(timeout=5)
        await client.publish(query_subject(people.db, "cancel"), one.subject.encode())
    assert (await people.query("sql", {"sql": "SELECT 1"}, timeout=3)).rows == [(1,)]
    for one in heard:
        await one.unsubscribe()


async def test_nobody_else_is_sent_signs(people: AsyncLog) -> None:
    """A plain request gets the one message that it waits for, however long that takes."""
    statement = "SELECT count(*) FROM range(3000) a, range(200000) b WHERE hash(a.range, b.range) % 7 = 8"
    reply = await people.connection.client.request(
        f"vmrq.{people.db}.sql", b'{"params": {"sql": "%s"}}' % statement.encode(), timeout=60
    )
    assert reply.headers is None
    assert b'"rows":[[0]]' in reply.data


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a small read model on disk."""
    projector = Projector(tmp_path / "sql.duckdb")
    projector.apply(record([events.VmAdded(server_uuid=uuid, server_name=uuid) for uuid in "ab"]))
    projector.close()
    return tmp_path / "sql.duckdb"


@pytest.mark.parametrize("as_of", [None, 1])
def test_interrupting_offline(file: Path, as_of: int | None) -> None:
    """Another thread stops the statement; progress is known meanwhile, and the next question is of the present."""
    with open_offline(file) as reader:
        known: list[float | None] = []

        def interrupt() -> None:
            # As a waiting terminal does: again and again until the answer is there.
            while not done.wait(0.3):
                known.append(reader.progress())
                reader.interrupt()

        done = threading.Event()
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(QueryError, match=r"[Ii]nterrupted"):
            reader.ask("sql", {"sql": f"SELECT * FROM vms, ({LONG})"}, as_of=as_of)  # noqa: S608 - the test's own
        done.set()
        thread.join()
        assert known[0] is None or 0 <= known[0] <= 1
        assert reader.sql("SELECT count(*) FROM vms").rows == [(2,)]
