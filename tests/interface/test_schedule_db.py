"""`ScheduleDb` against a real server: bytes come back as they were, and writers at the same time lose nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.interface.in_force import use
from vmr import events
from vmr.errors import ConflictError
from vmr.log import AsyncLog, Log
from vmr.projector import Projector
from vmr.roster import Roster
from vmr.schedule_codec import decode_entries
from vmr.schedule_db import MAGIC, ScheduleDb, ScheduleDbTimeoutError, decode_schedule, encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_store import ScheduleStore
from vmr.settings import Settings

HOSTILE_NAMES = ["", "two words", "*", ">", "a.b", "Größe 雪", "x/../y"]


@pytest.fixture
def db(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScheduleDb]:
    """Yield a `ScheduleDb` on a new, empty log."""
    use(settings, monkeypatch)
    with ScheduleDb() as made:
        yield made


def program(time: float, argument: str) -> ScheduleEntry:
    """Return an entry that runs a program."""
    entry = ScheduleEntry(time)
    entry.set_executable("/bin/echo", argument)
    return entry


def arguments(db: ScheduleDb, name: str) -> list[str | None]:
    """Return the arguments of the entries of a schedule."""
    text = db.get(name)
    assert text is not None
    return [entry.arguments for entry in decode_schedule(text)]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_what_was_put_is_returned(db: ScheduleDb, name: str) -> None:
    """An encoded schedule and any other bytes come back exactly, under whatever name; None before and after."""
    assert db.get(name) is None
    encoded = encode_schedule([program(-5, "größe"), program(5, "b")])
    for text in (encoded, pickle.dumps([1]), b"", b"\0" * 10, encode_schedule([]), encoded):
        db.put(name, text, "10.0.0.1")
        assert db.get(name) == text
    db.destroy_one(name)
    assert db.get(name) is None
    db.destroy_one(name)


def test_a_text_may_be_a_string(db: ScheduleDb) -> None:
    """FIREWHEEL's documentation says string; it is stored as UTF-8."""
    db.put("a", "größe", None)
    assert db.get("a") == "größe".encode()


def test_a_schedule_larger_than_a_message_is_stored(db: ScheduleDb, settings: Settings) -> None:
    """Its entries are an object then, which handlers find as well."""
    entry = ScheduleEntry(1)
    entry.add_content("/large", "x" * 9_000_000)
    text = encode_schedule([entry])
    db.put("large", text, None)
    assert db.get("large") == text
    db.append("large", [program(2, "late")])
    assert len(decode_schedule(db.get("large") or b"")) == 2
    with Log.connect(settings) as log:
        bodies = [recorded.event.body for batch in log.read() for recorded in batch]
    assert all(isinstance(body, events.SchedulePublished) and body.entries_object for body in bodies)


def test_a_list_has_name_text_and_address_in_order(db: ScheduleDb) -> None:
    """Also of many, by pattern, and without those that are gone."""
    text = encode_schedule([program(1, "a")])
    db.batch_put([{"server_name": f"vm-{n}", "text": text, "ip": f"10.0.0.{n}"} for n in range(5)])
    db.put("other", b"opaque", None)
    db.put("vm-3", b"again", "10.1.1.1")
    db.destroy_one("vm-2")
    assert [found["server_name"] for found in db.list_all()] == ["other", "vm-0", "vm-1", "vm-3", "vm-4"]
    assert db.list_all("vm-[13]") == [
        {"server_name": "vm-1", "text": text, "ip": "10.0.0.1"},
        {"server_name": "vm-3", "text": b"again", "ip": "10.1.1.1"},
    ]
    assert db.list_all("nobody*") == []
    db.destroy_all()
    assert db.list_all() == []
    assert db.get("vm-1") is None
    db.destroy_all()
    db.put("vm-1", text, None)
    assert [found["server_name"] for found in db.list_all()] == ["vm-1"]


def test_many_are_checked_before_any_is_stored(db: ScheduleDb) -> None:
    """What is wrong with one is said, and none of them is there."""
    good = {"server_name": "good", "text": b"x"}
    for wrong in (
        {"text": b"x"},
        {"server_name": "a"},
        {"server_name": 5, "text": b"x"},
        {"server_name": "a", "text": 5},
        {"server_name": "a", "text": MAGIC + b"damaged"},
    ):
        with pytest.raises(ValueError, match=r"server_name|text|damaged|bytes"):
            db.batch_put([good, wrong])
    assert db.list_all() == []
    db.batch_put([])


def test_handlers_follow_what_was_put_and_refuse_other_bytes(db: ScheduleDb, settings: Settings) -> None:
    """An encoded schedule is entries in the log; other bytes make the VM's schedule one that is refused, with the mend."""
    db.put("a", encode_schedule([program(-5, "one")]), None)
    db.put("b", pickle.dumps([]), None)
    vms = _fold(settings, ["a", "b"])
    assert [state.entry.arguments for state in vms.vms["a"].entries.values()] == ["one"]
    assert not vms.vms["a"].refused
    assert "vmr's encoding" in vms.vms["b"].refused
    db.destroy_all()
    vms = _fold(settings, ["a"])
    assert not vms.vms["a"].scheduled
    assert all(state.withdrawn for state in vms.vms["a"].entries.values())


def _fold(settings: Settings, names: list[str]) -> Roster:
    """Return what a handler that serves VMs of these names makes of the log."""
    roster = Roster(settings.db, "host")
    for name in names:
        added = events.VmAdded(server_uuid=name, server_name=name, agent=events.AgentAddress("host", "/socket"))
        event = events.new_event(added, producer="test")
        roster.apply_everywhere(events.Recorded(sequence=1, stored=1, subject="", event=event))
    with Log.connect(settings) as log:
        for batch in log.read():
            for recorded in batch:
                roster.apply(recorded)
    return roster


def test_a_namespace_is_apart_from_the_schedules_that_are_run(db: ScheduleDb, settings: Settings) -> None:
    """Neither handlers nor the read model see it, and clearing one leaves the other."""
    with ScheduleDb(cache_name="drafts") as drafts:
        drafts.put("a", encode_schedule([program(1, "draft")]), None)
        assert db.get("a") is None
        db.put("a", encode_schedule([program(1, "real")]), None)
        drafts.put("b", b"only here", None)
        assert arguments(drafts, "a") == ["draft"]
        assert arguments(db, "a") == ["real"]
        assert [found["server_name"] for found in drafts.list_all()] == ["a", "b"]
        assert [found["server_name"] for found in db.list_all()] == ["a"]
        drafts.append("a", [program(2, "more")])
        db.destroy_all()
        assert arguments(drafts, "a") == ["draft", "more"]
        db.put("a", b"opaque", None)
        drafts.destroy_one("a")
        assert db.get("a") == b"opaque"
        drafts.destroy_all()
        assert drafts.list_all() == []
    assert not [state for state in _fold(settings, ["a"]).vms["a"].entries.values() if state.entry.arguments == "draft"]
    with Log.connect(settings) as log:
        recorded = [each for batch in log.read() for each in batch]
    with closing(Projector()) as projector:
        projector.apply(recorded)
        reader = projector.reader()
        assert reader.execute("SELECT server_name, opaque_object IS NOT NULL FROM schedules").fetchall() == [
            ("a", True)
        ]
        assert reader.execute("SELECT count(*) FROM schedule_entry").fetchall() == [(1,)]


@pytest.mark.parametrize("name", ["", None, 7])
def test_what_cannot_name_a_namespace_is_refused(name: Any) -> None:
    """Before anything is connected."""
    with pytest.raises(RuntimeError, match="cache_name"):
        ScheduleDb(cache_name=name)


def test_an_appended_entry_keeps_those_before_and_their_identities(db: ScheduleDb) -> None:
    """Also one that is equal to an earlier one, and the same object twice: each of them is another entry."""
    db.append("vm", [program(-5, "first")])
    resume = ScheduleEntry(-5)
    resume.data.append({"resume": True})
    db.put("vm", db.get("vm") or b"", "10.0.0.7")
    before = decode_entries(db.get("vm") or b"")
    for entry in (program(-5, "first"), resume, resume):
        db.append("vm", [entry])
    after = decode_entries(db.get("vm") or b"")
    assert after[:1] == before
    assert len({entry.id for entry in after}) == len(after) == 4
    assert db.list_all()[0]["ip"] == "10.0.0.7"


def test_opaque_bytes_are_not_appended_to(db: ScheduleDb) -> None:
    """Nobody knows what they mean; they stay as they are."""
    db.put("vm", b"opaque", None)
    with pytest.raises(ValueError, match="encode_schedule"):
        db.append("vm", [program(1, "x")])
    assert db.get("vm") == b"opaque"


def _append(name: str, count: int) -> None:
    with ScheduleDb() as db:
        for number in range(count):
            db.append("vm", [program(-100_000, f"{name}-{number}")])


def test_writers_at_the_same_time_lose_no_entry(db: ScheduleDb) -> None:
    """Threads and another process append to one schedule; all entries are there, each once."""
    process = multiprocessing.get_context("spawn").Process(target=_append, args=("process", 8))
    process.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: _append(name, 8), "abcd"))
    process.join(60)
    assert process.exitcode == 0
    expected = {f"{name}-{number}" for name in ("process", *"abcd") for number in range(8)}
    found = arguments(db, "vm")
    assert set(found) == expected
    assert len(found) == len(expected)


def test_what_another_connection_put_is_there_at_once(db: ScheduleDb, settings: Settings) -> None:
    """A reader that has written nothing sees every finished call of others."""
    with Log.connect(settings) as log:
        for number in range(20):
            log.put_schedule("vm", [program(number + 1, "x").to_entry()])
            assert decode_schedule(db.get("vm") or b"")[0].start_time == number + 1


@pytest.mark.parametrize("clears", [False, True])
async def test_what_is_removed_during_an_append_stays_removed(
    log: AsyncLog, monkeypatch: pytest.MonkeyPatch, *, clears: bool
) -> None:
    """The schedule has the new entry then, and nothing of what was removed before it."""
    store = ScheduleStore(log)
    await store.put([("vm", encode_schedule([program(-5, "old")]), None)])
    publish = log.publish_expecting

    async def too_late(body: events.KnownBody, expected: int) -> int:
        monkeypatch.setattr(log, "publish_expecting", publish)
        await (store.clear() if clears else store.remove(["vm"]))
        return await publish(body, expected)

    monkeypatch.setattr(log, "publish_expecting", too_late)
    await store.append("vm", [program(-4, "new")])
    stored = await store.get("vm")
    assert stored is not None
    assert [entry.arguments for entry in decode_schedule(stored.text)] == ["new"]


async def test_an_append_that_is_always_too_late_says_so(log: AsyncLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends after its bound with the conflict."""
    monkeypatch.setattr("vmr.schedule_store.APPEND_SECONDS", 0.0)
    store = ScheduleStore(log)

    async def conflict(_body: object, _expected: int) -> int:
        raise ConflictError("somebody else wrote first")

    monkeypatch.setattr(log, "publish_expecting", conflict)
    with pytest.raises(ConflictError):
        await asyncio.wait_for(store.append("vm", [program(1, "x")]), 10)


def test_a_conflict_that_stays_is_the_documented_error(db: ScheduleDb, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ScheduleDbTimeoutError` says what happened."""

    async def conflict(*_: object) -> int:
        raise ConflictError("others wrote first")

    monkeypatch.setattr(ScheduleStore, "append", conflict)
    with pytest.raises(ScheduleDbTimeoutError, match="others"):
        db.append("vm", [program(1, "x")])


def test_clearing_other_parts_leaves_the_schedules(db: ScheduleDb, settings: Settings) -> None:
    """Only what says schedules clears them; a full clear does."""
    db.put("vm", b"x", None)
    with Log.connect(settings) as log:
        log.clear(["vms", "times"])
        assert db.get("vm") == b"x"
        log.clear()
    assert db.get("vm") is None


def test_an_object_is_closed_for_itself_only(db: ScheduleDb) -> None:
    """Others go on, a closed one says what to do, and closing twice does nothing."""
    other = ScheduleDb()
    other.close()
    other.close()
    with pytest.raises(ConnectionError, match="closed"):
        other.get("vm")
    assert db.get("vm") is None


def test_threads_share_one_object(db: ScheduleDb) -> None:
    """Every thread reads its own writes."""
    failures: list[str] = []

    def work(name: str) -> None:
        for number in range(10):
            text = f"{name} {number}".encode()
            db.put(name, text, None)
            if db.get(name) != text:
                failures.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_without_a_server_it_is_said_within_seconds(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is a `ConnectionError` that names what to type."""
    use(Settings(home=tmp_path_factory.mktemp("nobody")), monkeypatch)
    with pytest.raises(ConnectionError, match="vmr up"):
        ScheduleDb()
