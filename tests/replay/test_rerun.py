"""A recorded run, run again: the same VMs, schedules and files, and what operators did at the same times of the experiment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import vmr
from tests.archive.runs import LARGE
from tests.readmodel.histories import record
from tests.replay.conftest import Saved
from vmr import events
from vmr.errors import InvalidInputError
from vmr.experiment import load_experiment
from vmr.late_files import push
from vmr.log import AsyncLog
from vmr.replay.again import files_of, kept, with_resources, write
from vmr.replay.controls import play
from vmr.replay.facts import Control, Facts
from vmr.schedule import Entry, EntryFile, ObjectRef
from vmr.settings import Settings
from vmr.testing import MockClock

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
EXPERIMENT = """
name: again
description: twice
start_buffer: 1
files: parts
vms:
  web-{n}:
    count: 2
    address: 10.1.2.{n}/16
    memory: 256
    schedule:
      - {at: -5, script: setup.sh, args: one}
      - {at: 1, run: work.sh, files: [{resource: work.sh, executable: true}]}
      - {at: 4, run: "true"}
simulate:
  work.sh: {duration: 0.5, stdout: "done\\n"}
"""


def names_in(folder: Path) -> set[str]:
    """Return the names of what is in a folder."""
    return {path.name for path in folder.iterdir()}


def facts(*bodies: events.KnownBody) -> Facts:
    """Return the facts of a history, a millisecond from event to event."""
    found = Facts()
    for each in record(bodies):
        found.apply(each)
    return found


def entry(at: float) -> Entry:
    """Return an entry at this time."""
    return Entry(id=f"{at:g}/run", start_time=at, executable="run")


def test_what_was_there_at_the_start_is_run_again() -> None:
    """VMs and files that were taken away before are not; what came after is what operators did, counted from the start."""
    ref = ObjectRef("1" * 64, 3)
    begin = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = facts(
        events.ExperimentLaunched(launch_time=begin, name="x"),
        events.VmAdded(server_uuid="1", server_name="a"),
        events.VmAdded(server_uuid="2", server_name="b"),
        events.VmRemoved(server_uuid="2"),
        events.ResourceUploaded(store="vm_resources", name="kept", object=ref),
        events.ResourceUploaded(store="other", name="elsewhere", object=ref),
        events.SchedulePublished(server_name="a", entries=(entry(1),)),
        events.ExperimentPaused(duration=2),
        events.ExperimentStarted(start_time=begin),
        events.VmStateSet(server_uuid="1", state="configured"),
        events.VmResumed(server_uuid="1"),
        events.SchedulePublished(server_name="a", entries=(entry(1), entry(5))),
        events.SchedulePublished(server_name="a", entries=(entry(5),), store="archive"),
    )
    assert list(found.vms) == ["1"]
    assert found.resources == {"kept": ref}
    assert found.schedules["a"].entries == (entry(1),)
    assert [(each.origin, each.after / timedelta(milliseconds=1)) for each in found.controls] == [
        ("launch", 7),
        ("start", 11),
        ("start", 12),
    ]
    assert [each.entries for each in found.controls] == [(), (), (entry(5),)]


async def test_the_file_says_what_the_record_says(saved: Saved, tmp_path: Path) -> None:
    """Schedules of an archive, a large one and one with objects among them, read back from the written file as they were."""
    async with kept(str(saved.archive), saved.settings) as run:
        experiment = await write(run, tmp_path / "again.yaml")
        wanted = {name: tuple(map(with_resources, each.entries)) for name, each in run.facts.schedules.items()}
        files = files_of(run.facts)
    assert {vm.name: vm.entries for vm in experiment.vms if vm.entries} == wanted
    assert len(wanted["web-1"][0].files[0].content or "") == LARGE
    assert len(experiment.vms) == 40
    assert {vm.uuid for vm in experiment.vms} == {f"vm.{number} *>é" for number in range(40)}
    assert load_experiment(tmp_path / "again.yaml").vms == experiment.vms
    for name, ref in files.items():
        assert (tmp_path / "files" / name).stat().st_size == ref.size
    with pytest.raises(InvalidInputError, match="is there already"):
        async with kept(str(saved.archive), saved.settings) as run:
            await write(run, tmp_path / "again.yaml")
    assert names_in(tmp_path) - {"cache"} == {"again.yaml", "files"}


async def test_names_that_lead_out_of_the_folder_are_refused(saved: Saved, tmp_path: Path) -> None:
    """A hostile record writes nothing outside, and nothing is left behind."""
    async with kept(str(saved.archive), saved.settings) as run:
        run.facts.resources["../outside"] = ObjectRef("0" * 64, 1)
        with pytest.raises(InvalidInputError, match="outside"):
            await write(run, tmp_path / "in" / "again.yaml")
    assert names_in(tmp_path / "in") == set()


async def test_a_run_that_was_not_launched_is_named(saved: Saved, log: AsyncLog) -> None:
    """So is the file of a read model, which holds no files of a run."""
    assert log.db
    with pytest.raises(InvalidInputError, match="give an archive"):
        async with kept(str(saved.record), saved.settings):
            pass


async def test_controls_come_at_the_same_times(log: AsyncLog) -> None:
    """Each is recorded at the very time of the experiment at which it was; what is due after the end is left out."""
    clock = MockClock(START - timedelta(seconds=10), autojump=0.04)
    seconds = timedelta(seconds=1)
    file = EntryFile("/x", object=await log.put_object(b"x"))
    late = Entry(id="-100000/files", start_time=-100_000, files=(file,))
    controls = [
        Control("launch", 0.5 * seconds, events.VmWaived(server_uuid="1")),
        Control("start", 3.25 * seconds, events.ExperimentPaused(duration=2.0)),
        Control("start", 4 * seconds, events.SchedulePublished(server_name="a"), (late,)),
        Control("start", 7.000001 * seconds, events.VmResumed(server_uuid="1")),
        Control("start", 9 * seconds, events.ExperimentResumed()),
    ]
    await log.put_schedule("a", [entry(1)])
    playing = asyncio.create_task(play(log, controls, 1, clock))
    await log.publish(events.ExperimentLaunched(launch_time=START), time=START - 5 * seconds)
    await log.publish(events.ExperimentStarted(start_time=START))
    found: dict[str, Any] = {}
    async for batch in log.follow():
        for each in batch:
            found[each.event.type] = each.event
        if "vm.resumed" in found:
            break
    await log.publish(events.ExperimentEnded())
    assert await playing == 4
    assert found["vm.waived"].time == START - 4.5 * seconds
    assert found["experiment.paused"].time == START + 3.25 * seconds
    assert found["vm.resumed"].time == START + 7.000001 * seconds
    assert found["schedule.published"].body.entries == (entry(1), late)


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[dict[str, str]]]:
    """Yield the environments of two homes; what runs in them is stopped at the end."""
    found = [{**os.environ, "VMR_HOME": str(tmp_path / name), "NO_COLOR": "1"} for name in ("one", "two")]
    yield found
    for environment in found:
        command(environment, "run", "--stop", check=False)
        command(environment, "down", check=False)


def command(environment: dict[str, str], *words: str, check: bool = True) -> str:
    """Run ``vmr`` to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "vmr", *words], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def operate(home: str, file: Path) -> None:
    """Pause one VM, and push a file into the other, as soon as the first program runs."""
    with vmr.connect(home=home) as log:
        for batch in log.follow():
            bodies = [each.event.body for each in batch]
            if any(isinstance(body, events.EntryStarted) and body.entry == "1/work.sh" for body in bodies):
                break
        uuids = {row["server_name"]: row["server_uuid"] for row in log.query("vms").records()}
        log.pause_vm(uuids["web-1"], 0.5)
    asyncio.run(_push(home, file))


async def _push(home: str, file: Path) -> None:
    async with vmr.connect_async(home=home) as log:
        await push(log, "web-2", file, "/tmp/late.txt")


def of_schedules(path: Path) -> dict[str, tuple[Entry, ...]]:
    """Return the schedule of each VM as it was first published in an archive."""
    found: dict[str, tuple[Entry, ...]] = {}
    for each in vmr.events_of(path, types="schedule.published"):
        assert isinstance(each.event.body, events.SchedulePublished)
        found.setdefault(each.event.body.server_name, each.event.body.entries)
    return found


def of_controls(path: Path) -> list[tuple[str, float]]:
    """Return what operators did in an archived run, and when, in seconds of the experiment."""
    start = next(iter(vmr.events_of(path, types="experiment.started"))).event.body
    assert isinstance(start, events.ExperimentStarted)
    kinds = ["vm.paused", "vm.resumed", "experiment.paused", "experiment.resumed"]
    return [
        (each.event.type, (each.event.time - start.start_time).total_seconds())
        for each in vmr.events_of(path, types=kinds)
    ]


def test_an_archive_is_run_again_elsewhere(homes: list[dict[str, str]], tmp_path: Path) -> None:
    """From a run with files, a pause and a pushed file to its archive, and on to a second run of it on another home."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "setup.sh").write_text("#!/bin/sh\necho set up\n")
    (tmp_path / "parts" / "work.sh").write_text("#!/bin/sh\necho work\n")
    (tmp_path / "again.yaml").write_text(EXPERIMENT)
    (tmp_path / "late.txt").write_text("late\n")
    one, two = homes
    command(one, "up", "--detach")
    with subprocess.Popen(
        [sys.executable, "-m", "vmr", "run", str(tmp_path / "again.yaml"), "--guests", "simulated"],
        env=one,
        stdout=subprocess.DEVNULL,
    ) as running:
        operate(one["VMR_HOME"], tmp_path / "late.txt")
        assert running.wait(60) == 0
    command(one, "archive", "again", "-o", str(tmp_path / "one.zip"))
    out = command(two, "rerun", str(tmp_path / "one.zip"), "--with-controls")
    assert "again: everything has run" in out
    assert "2 VMs, 7 entries, 7 finished" in out
    command(two, "archive", "again", "-o", str(tmp_path / "two.zip"))
    assert of_schedules(tmp_path / "two.zip") == of_schedules(tmp_path / "one.zip")
    assert of_controls(tmp_path / "one.zip")
    assert of_controls(tmp_path / "two.zip") == of_controls(tmp_path / "one.zip")
    with vmr.open(tmp_path / "one.zip") as first, vmr.open(tmp_path / "two.zip") as second:
        done = "SELECT server_name, entry, status, exit_code FROM attempts ORDER BY ALL"
        assert second.sql(done).rows == first.sql(done).rows
        kept_files = "SELECT name, sha256 FROM resources ORDER BY ALL"
        assert second.sql(kept_files).rows == first.sql(kept_files).rows


def test_settings_name_no_server(tmp_path: Path) -> None:
    """Without a server and without an archive there is nothing to run again."""

    async def nothing() -> None:
        async with kept(None, Settings(home=tmp_path)):
            pass

    with pytest.raises(ConnectionError, match="give an archive"):
        asyncio.run(nothing())
