"""``vmr vm pause``, ``resume`` and ``waive``: what is recorded, what is said, and that a running handler obeys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.operating import Terminal
from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.events import (
    Body,
    EntryFinished,
    EntryStarted,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentStarted,
    VmPaused,
    VmResumed,
    VmWaived,
)
from vmr.log import AsyncLog
from vmr.testing import SimulatedHost


async def said(log: AsyncLog, kind: type[Body]) -> list[Body]:
    """Return what is recorded of this kind."""
    return [each.event.body async for batch in log.read() for each in batch if isinstance(each.event.body, kind)]


@pytest.fixture
async def vms(log: AsyncLog) -> None:
    """Record three VMs, one of which vmr leaves alone."""
    await log.add_vm("u-1", "server")
    await log.add_vm("u-2", "client")
    await log.add_vm("u-3", "router", state="N/A")


@pytest.mark.usefixtures("vms")
async def test_pause_and_resume_name_their_vms(log: AsyncLog, terminal: Terminal) -> None:
    """Names and uuids, each VM once, with FIREWHEEL's word on how many."""
    done = await terminal.type("vm", "pause", "server", "u-2", "u-1", "--for", "2.5")
    assert done == ("Paused VM Resource Handling for 2 VMs for 2.5 seconds.\n", "", 0)
    assert await said(log, VmPaused) == [VmPaused(server_uuid=f"u-{n}", duration=2.5) for n in (1, 2)]
    done = await terminal.type("vm", "resume", "client")
    assert done == ("Resumed VM Resource Handling for 1 VMs.\n", "", 0)
    assert await said(log, VmResumed) == [VmResumed(server_uuid="u-2")]


@pytest.mark.usefixtures("vms")
async def test_all_vms_are_one_event(log: AsyncLog, terminal: Terminal) -> None:
    """However many there are, it is said once; those that vmr leaves alone are not counted."""
    done = await terminal.type("vm", "pause", "--all")
    assert done == ("Paused VM Resource Handling for 2 VMs until `vmr vm resume`.\n", "", 0)
    done = await terminal.type("vm", "resume", "-a")
    assert done == ("Resumed VM Resource Handling for 2 VMs.\n", "", 0)
    assert (await said(log, ExperimentPaused), await said(log, ExperimentResumed)) == (
        [ExperimentPaused()],
        [ExperimentResumed()],
    )


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pause"], "name VMs, or say --all"),
        (["resume", "server", "--all"], "not both"),
        (["pause", "servr"], "no VM has the name or uuid 'servr'; did you mean 'server'?"),
        (["resume", "zzz"], "`vmr vm list uuid` shows the VMs of this run"),
        (["waive", "clint", "servr"], "'clint'; did you mean 'client'?\nno VM has the name or uuid 'servr'"),
        (["pause", "router"], "VM 'router': vmr leaves it alone"),
        (["pause", "--all", "--for", "0"], "above 0"),
        (["pause", "--all", "--for", "inf"], "above 0"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_recorded(
    log: AsyncLog, terminal: Terminal, words: list[str], expected: str
) -> None:
    """A mistake ends with exit code 2 and the mend."""
    done = await terminal.type("vm", *words)
    assert done.code == 2
    assert expected in done.err
    assert await log.last_sequence() == 3


async def test_a_name_that_two_vms_have_is_not_guessed(log: AsyncLog, terminal: Terminal) -> None:
    """The uuids are said, one of which works."""
    await log.add_vm("u-1", "twin")
    await log.add_vm("u-2", "twin")
    done = await terminal.type("vm", "pause", "twin")
    assert (done.code, "u-1, u-2" in done.err) == (2, True)
    assert (await terminal.type("vm", "pause", "u-2")).code == 0


@pytest.mark.usefixtures("vms")
async def test_waive_says_for_how_many_the_experiment_still_waits(log: AsyncLog, terminal: Terminal) -> None:
    """The reason is on the record; after the start there is nothing to waive."""
    first = await terminal.type("vm", "waive", "server", "--reason", "its disk is broken")
    assert first.out.splitlines() == [
        "VM server is waived: the experiment does not wait for it.",
        "It waits for 1 more.",
    ]
    assert await said(log, VmWaived) == [VmWaived(server_uuid="u-1", reason="its disk is broken")]
    second = await terminal.type("vm", "waive", "client")
    assert "Every VM is ready" in second.out
    await log.start()
    third = await terminal.type("vm", "waive", "server")
    assert (third.code, third.out) == (0, "")
    assert "waits for no VM any more" in third.err
    assert len(await said(log, VmWaived)) == 2


async def test_vms_of_an_earlier_run_are_not_found(log: AsyncLog, terminal: Terminal) -> None:
    """A name belongs to the present run."""
    await log.add_vm("u-1", "server")
    await log.clear()
    done = await terminal.type("vm", "pause", "server")
    assert (done.code, "no VM has the name" in done.err) == (2, True)


async def test_a_running_vm_is_held_and_goes_on(log: AsyncLog, terminal: Terminal, tmp_path: Path) -> None:
    """Between pause and resume nothing of its schedule begins; another VM is not touched by it."""
    sockets = tmp_path / "s"
    sockets.mkdir()
    schedules = {name: [program(-1, "x"), program(1, "first"), program(2, "second")] for name in ("a", "b")}
    async with SimulatedHost(sockets, ["a", "b"]) as guests:
        await publish(log, guests.sockets, schedules)
        async with handling(log, tmp_path / "h"):
            await until(log, ended(4, EntryFinished))
            assert (await terminal.type("vm", "pause", "a")).code == 0
            await until(log, ended(5, EntryFinished))
            await asyncio.sleep(0.3)
            assert (await terminal.type("vm", "resume", "a")).code == 0
            events = await until(log, ended(6, EntryFinished))
    last = bodies(events, EntryStarted)[-1]
    assert (last.server_uuid, last.entry) == ("uuid-a", "2/second")
    resumed = next(each.sequence for each in events if isinstance(each.event.body, VmResumed))
    assert max(each.sequence for each in events if isinstance(each.event.body, EntryStarted)) > resumed


async def test_a_waived_vm_lets_the_others_start(log: AsyncLog, terminal: Terminal, tmp_path: Path) -> None:
    """The start follows the waiving at once."""
    sockets = tmp_path / "s"
    sockets.mkdir()
    async with SimulatedHost(sockets, ["good"]) as guests:
        addresses = guests.sockets | {"hangs": sockets / "nothing-listens-here"}
        await publish(log, addresses, {"good": [program(1, "x")], "hangs": []})
        async with handling(log, tmp_path / "h"):
            await until(log, lambda events: "configured" in {getattr(e.event.body, "state", "") for e in events})
            assert (await terminal.type("vm", "waive", "hangs")).code == 0
            events = await until(log, ended(1, EntryFinished))
    assert len(bodies(events, ExperimentStarted)) == 1
