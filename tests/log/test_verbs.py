"""What publishers say most often: one call, one event, the same on both faces of the log."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from vmr.errors import InvalidInputError
from vmr.events import ExperimentLaunched, KnownBody, SchedulePublished, Unknown, VmPaused, VmResumed, VmWaived
from vmr.log import AsyncLog, Log
from vmr.schedule import Entry
from vmr.settings import Settings


def entry(identity: str, argument: str = "") -> Entry:
    """Return an entry that runs a program."""
    return Entry(identity, 1, executable="/bin/echo", arguments=argument)


async def bodies(log: AsyncLog) -> list[KnownBody | Unknown]:
    """Return what is recorded."""
    return [recorded.event.body async for batch in log.read() for recorded in batch]


def test_both_faces_have_the_same_methods() -> None:
    """Whoever knows one knows the other: names, parameters and defaults."""

    def methods(face: type) -> dict[str, list[tuple[str, object]]]:
        return {
            name: [(each.name, each.default) for each in inspect.signature(method).parameters.values()]
            for name, method in inspect.getmembers(face, inspect.isfunction)
            if not name.startswith("_") and name not in {"run", "put_object", "fetch_object", "publish_many"}
        }

    assert methods(AsyncLog) == methods(Log)


async def test_operators_words_about_one_vm(log: AsyncLog) -> None:
    """Pause, break, resume and waive are one event each."""
    await log.pause_vm("u", 2.5)
    await log.pause_vm("u")
    await log.resume_vm("u")
    await log.waive_vm("u", "broken disk")
    assert await bodies(log) == [
        VmPaused(server_uuid="u", duration=2.5),
        VmPaused(server_uuid="u"),
        VmResumed(server_uuid="u"),
        VmWaived(server_uuid="u", reason="broken disk"),
    ]


async def test_a_launch_says_what_becomes_of_failed_vms(log: AsyncLog) -> None:
    """The rule travels with the launch; left out, the experiment waits."""
    await log.launch("a", failed_vms="waive")
    await log.launch("b")
    rules = [body.failed_vms for body in await bodies(log) if isinstance(body, ExperimentLaunched)]
    assert rules == ["waive", "wait"]


async def test_two_connections_append_at_once_and_no_entry_is_lost(settings: Settings) -> None:
    """The last schedule has what each of ten calls added, after what was put, in one piece each."""
    async with await AsyncLog.connect(settings) as one, await AsyncLog.connect(settings) as two:
        await one.put_schedule("web", [entry("first")], ip="10.0.0.1")
        await asyncio.gather(
            *((one, two)[n % 2].append_entries("web", [entry(f"{n}a"), entry(f"{n}b")]) for n in range(10))
        )
        last = (await bodies(one))[-1]
    assert isinstance(last, SchedulePublished)
    assert last.ip == "10.0.0.1"
    ids = [each.id for each in last.entries]
    assert ids[0] == "first"
    assert sorted(zip(ids[1::2], ids[2::2], strict=True)) == [(f"{n}a", f"{n}b") for n in range(10)]


async def test_an_appended_entry_never_takes_anothers_identity(log: AsyncLog) -> None:
    """Added twice, it runs twice; a VM without a schedule gets one."""
    for _ in range(2):
        await log.append_entries("web", [entry("same")])
    last = (await bodies(log))[-1]
    assert isinstance(last, SchedulePublished)
    assert [each.id for each in last.entries] == ["same", "same_1"]


async def test_an_appended_entry_that_makes_no_sense_changes_nothing(log: AsyncLog) -> None:
    """It is refused by name before anything is published."""
    with pytest.raises(InvalidInputError, match="time 0 is the barrier"):
        await log.append_entries("web", [Entry("x", 0, executable="a")])
    assert await log.last_sequence() == 0


def test_the_synchronous_face_says_the_same(settings: Settings) -> None:
    """Scripts have the same words."""
    with Log.connect(settings) as log:
        assert (log.pause_vm("u", 1.0), log.resume_vm("u"), log.waive_vm("u")) == (1, 2, 3)
        assert log.append_entries("web", [entry("x")]) == 4
        assert log.launch(failed_vms="waive") == 5
