"""CloudEvents: every line is one, by the CloudEvents SDK's own reading, and every event comes back byte for byte."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings

from tests.archive.folded import ARCHIVE
from tests.archive.runs import publish_run
from tests.exports.run_files import fold
from tests.readmodel.conftest import serving
from tests.readmodel.histories import FAMILIES, histories
from tests.readmodel.recorded_run import recorded_run
from vmr import query_service
from vmr.archive import create_archive, open_archive
from vmr.errors import InvalidInputError
from vmr.events import Event, Recorded, SchedulePublished, Unknown, encode
from vmr.exports.cloudevents import read, to_line
from vmr.exports.importing import import_events
from vmr.exports.of_run import export, export_run
from vmr.log import AsyncLog, connect_async
from vmr.messages import recorded_of
from vmr.settings import Settings

HEAD = b'{"id":"i","time":"2026-01-31T12:00:00Z","producer":"p","version":1,"body":'
ODD = {
    "no JSON": b"\xff\x00\n",
    "no event": b'{"a": 1}',
    "other spelling": HEAD.replace(b",", b", ") + b'{"type":"vm.removed","server_uuid":"u"}}',
    "line ends": HEAD + b'{"type":"vm.removed",\n"server_uuid":"u"}}',
    "no version": b'{"id":"i","time":"2026-01-31T12:00:00Z","producer":"p","body":{"type":"vm.removed","server_uuid":"u"}}',
    "control characters": HEAD.replace(b'"p"', rb'"p\u0007"') + b'{"type":"vm.removed","server_uuid":"u"}}',
    "no character": HEAD.replace(b'"p"', '"p\U0008ffff"'.encode()) + b'{"type":"vm.removed","server_uuid":"u"}}',
    "deep": HEAD + b'{"type":"vm.x","y":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    "later version": HEAD.replace(b":1,", b":1180591620717411303424,") + b'{"type":"vm.x"}}',
    "empty id": HEAD.replace(b'"i"', b'""') + b'{"type":"vm.x"}}',
    "bytes in a string": HEAD + b'{"type":"vm.x","y":"\xff"}}',
    "a number without end": HEAD + b'{"type":"vm.x","y":1e999}}',
}
ORDINARY = {
    "an event": HEAD + b'{"type":"vm.removed","server_uuid":"u"}}',
    "a later type": HEAD + b'{"type":"vm.x","y":{"a":[1,"\xc3\xa9"]}}}',
    "edge of the calendar": HEAD.replace(b"2026-01-31T12:00:00Z", b"0001-01-01T00:00:00+23:00") + b'{"type":"vm.x"}}',
    "room in its body": HEAD + b'{ "type": "vm.removed", "server_uuid": "u"}}',
}


def _standard(line: bytes) -> dict[str, object]:
    """Return the attributes of the CloudEvent that the SDK reads from ``line``; it raises where there is none."""
    return JSONFormat().read(None, line).get_attributes()


@pytest.mark.parametrize("data", [*ODD.values(), *ORDINARY.values()], ids=[*ODD, *ORDINARY])
def test_message_comes_back_byte_for_byte(data: bytes) -> None:
    """Whatever is in the log, a line holds it, and the SDK finds the attributes that CloudEvents wants."""
    recorded = recorded_of(7, 1_769_860_800_123_456_789, "vmr.test.vm.u\x01.x", data)
    line = to_line(recorded)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert list(read([line])) == [recorded]
    found = _standard(line)
    assert found["specversion"] == "1.0"
    assert found["sequence"] == "00000000000000000007"
    assert ("vmrmessage" in found) == (data in ODD.values())


def test_event_is_read_without_vmr() -> None:
    """What others know of CloudEvents says what, when, who and about whom; the body is plain JSON."""
    recorded = recorded_run()[-1]
    event = JSONFormat().read(None, to_line(recorded))
    assert (event.get_type(), event.get_id(), event.get_time()) == (
        "experiment.ended",
        recorded.event.id,
        recorded.event.time,
    )
    assert event.get_source() == "vmr:/test/operator"
    assert event.get_subject() == "vmr.test.experiment.ended"
    assert event.get_data() == {"type": "experiment.ended", "reason": "done"}
    assert event.get_extension("vmrproducer") == "operator"


def test_line_that_other_programs_have_written_anew() -> None:
    """A broker may order attributes otherwise, add its own and put in room: the event is the same."""
    recorded = msgspec.structs.replace(recorded_run()[7], data=encode(recorded_run()[7].event))
    attributes = msgspec.json.decode(to_line(recorded)) | {"partitionkey": "x"}
    anew = msgspec.json.format(msgspec.json.encode(dict(reversed(attributes.items()))), indent=1).replace(b"\n", b"")
    (found,) = read([anew])
    assert found.event == recorded.event


@hypothesis_settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(histories(FAMILIES["everything"]))
def test_events_of_a_read_model_come_back(tmp_path_factory: pytest.TempPathFactory, history: list[Recorded]) -> None:
    """From a read model's file the events are equal, where JSON can be read; stored times have microseconds there."""
    folder = tmp_path_factory.mktemp("events")
    by_sequence = {recorded.sequence: recorded for recorded in history}
    for found in _exported(folder, history, folder / "events.ndjson"):
        recorded = by_sequence[found.sequence]
        assert (found.subject, found.stored) == (recorded.subject, recorded.stored // 1000 * 1000)
        if isinstance(recorded.event.body, Unknown):
            assert (found.event.id, found.event.type) == (recorded.event.id, recorded.event.type)
        else:
            assert found.event == _without_entries(recorded.event)


def _without_entries(event: Event) -> Event:
    """Return ``event`` as the log would hold it: entries are in it or in an object, not in both."""
    if not isinstance(event.body, SchedulePublished) or event.body.entries_object is None:
        return event
    return msgspec.structs.replace(event, body=msgspec.structs.replace(event.body, entries=()))


def _exported(folder: Path, history: list[Recorded], target: Path) -> list[Recorded]:
    said = export("cloudevents", fold(folder / "run.duckdb", history), target)
    with target.open("rb") as lines:
        found = list(read(lines))
    assert said == f"{len(found):,} events"
    return found


@pytest.fixture
async def recorded(log: AsyncLog) -> AsyncIterator[AsyncLog]:
    """Yield a log with a run of every kind of object in it, and of messages that are none of vmr's."""
    async with serving(query_service.main, log, "last_sequence"):
        await publish_run(log, vms=3)
        for name, data in ODD.items():
            subject = f"vmr.{log.db}.vm.{name.replace(' ', '-')}.x"
            await log.publish_recorded([recorded_of(1, 0, subject, data)])
        yield log


def _nobody(done: int, of: int) -> None:
    """Be told of the progress."""


async def _all(log: AsyncLog) -> list[Recorded]:
    return [recorded async for batch in log.read() for recorded in batch]


def _same(found: Recorded, wanted: Recorded, db: str) -> bool:
    """Return whether two logs hold the same event, but for the name of the database in its subject."""
    subject = f"vmr.{db}.{wanted.subject.split('.', 2)[2]}"
    return found == msgspec.structs.replace(wanted, subject=subject)


@pytest.mark.parametrize("source", ["log", "archive"])
async def test_round_trip(recorded: AsyncLog, tmp_path: Path, source: str) -> None:
    """From the log, or from an archive of it, into a file and into another database: every message is there, byte for byte."""
    given = None
    if source == "archive":
        await create_archive(recorded, None, tmp_path / "run.zip")
        given = str(tmp_path / "run.zip")
    target = tmp_path / "events.ndjson"
    wanted = await _all(recorded)
    said = await asyncio.to_thread(export_run, "cloudevents", given, recorded.settings, target)
    assert said == f"{len(wanted):,} events"
    with target.open("rb") as lines:
        assert list(read(lines)) == wanted
    other = msgspec.structs.replace(recorded.settings, db=f"{recorded.db}_copy")
    told: list[tuple[int, int]] = []
    assert await import_events(other, target, tell=lambda done, of: told.append((done, of))) == len(wanted)
    assert told[-1] == (len(wanted), len(wanted))
    async with connect_async(settings=other) as copy:
        found = await _all(copy)
    assert len(found) == len(wanted)
    assert all(_same(one, another, other.db) for one, another in zip(found, wanted, strict=True))
    with pytest.raises(InvalidInputError, match=f"has held {len(wanted)} events up to sequence"):
        await import_events(other, target, tell=_nobody)


async def test_later_run_keeps_its_sequences_and_its_number(log: AsyncLog, tmp_path: Path) -> None:
    """The second run of a log is the second run of the other, with the sequences that it had; but not where others are already."""
    export("cloudevents", fold(tmp_path / "record.duckdb", recorded_run()), tmp_path / "events")
    assert await import_events(log.settings, tmp_path / "events", tell=_nobody) == 58
    found = await _all(log)
    assert [recorded.event for recorded in found] == [recorded.event for recorded in recorded_run()[5:]]
    assert [recorded.sequence for recorded in found] == list(range(6, 64))
    assert await log.beginning() == (6, 2)
    first = msgspec.structs.replace(recorded_run()[0], data=encode(recorded_run()[0].event))
    (tmp_path / "one").write_bytes(to_line(first))
    with pytest.raises(InvalidInputError, match="has held 58 events up to sequence 63"):
        await import_events(log.settings, tmp_path / "one", tell=_nobody)


async def test_archive_of_what_was_imported_has_the_same_hash_chain(log: AsyncLog, tmp_path: Path) -> None:
    """The recorded run of the demo, out of its archive, through CloudEvents and a server, into an archive: nothing has changed."""
    with open_archive(ARCHIVE) as archive:
        wanted = archive.manifest
    await asyncio.to_thread(export_run, "cloudevents", str(ARCHIVE), log.settings, tmp_path / "events")
    assert await import_events(log.settings, tmp_path / "events", tell=_nobody) == wanted.events
    async with serving(query_service.main, log, "last_sequence"):
        found = await create_archive(log, None, tmp_path / "again.zip")
    assert (found.chain, found.run, found.first, found.last) == (wanted.chain, wanted.run, wanted.first, wanted.last)


LINES = [to_line(recorded) for recorded in recorded_run()[5:9]]
WRONG = {
    "another program's": (
        b'{"specversion": "1.0", "id": "1", "source": "/", "type": "x"}\n',
        "line 1: not an event that vmr",
    ),
    "deep": (b"[" * 100_000, "line 1: not an event that vmr has exported"),
    "deep below": (b'{"specversion":"1.0","x":' + b"[" * 100_000, "line 1: not an event that vmr has exported"),
    "no JSON": (LINES[0] + b"{\n", "line 2: not an event that vmr has exported"),
    "cut off": (b"".join(LINES)[:-40], "line 4: not an event that vmr has exported"),
    "one missing": (LINES[0] + LINES[2], "line 2: event 8 comes after 6: lines are missing"),
    "one twice": (LINES[0] + LINES[0], "line 2: event 6 comes after 6"),
    "nothing": (b"\n\n", "there are no events in it"),
    "without its time": (
        LINES[0].replace(b'"time"', b'"when"'),
        "attributes time, vmrproducer, vmrversion and data is missing",
    ),
    "stored at no time": (LINES[0].replace(b'vmrstored":"2', b'vmrstored":"x'), "is no UTC time"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
async def test_file_that_is_wrong_is_not_imported(
    settings: Settings, log: AsyncLog, tmp_path: Path, content: bytes, said: str
) -> None:
    """One line says what is wrong and where, and the database stays empty."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        await import_events(settings, path, tell=_nobody)
    assert await log.last_sequence() == 0
