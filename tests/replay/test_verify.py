"""A run's seal, and whether its record is still what it was: in the log, in an archive, in another place."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archive.runs import publish_run
from tests.readmodel.conftest import serving
from tests.readmodel.histories import FAMILIES, histories
from tests.replay.conftest import fold
from vmr import query_service
from vmr.archive import create_archive
from vmr.errors import DataError
from vmr.events import ExperimentSealed, SealedEvents, VmStateSet
from vmr.log import AsyncLog
from vmr.projector import Projector
from vmr.replay.hashes import counted_from_one, hashes_of, overall
from vmr.replay.seal import seal, try_to_seal
from vmr.replay.source import open_table
from vmr.replay.verify import Way, verify
from vmr.settings import Settings

WAYS = (Way(7, 1), Way(1000, 2))


async def sealed_archive(log: AsyncLog, path: Path) -> ExperimentSealed:
    """Record two runs, seal the second, say something more, and archive that run."""
    await publish_run(log, vms=2)
    begin = await log.clear()
    await publish_run(log, vms=12)
    sealed = await seal(log, begin)
    await log.publish(VmStateSet(server_uuid="vm.1 *>é", state="failed"))
    async with serving(query_service.main, log, "last_sequence"):
        await create_archive(log, None, path, part_events=30)
    return sealed


async def test_a_sealed_run_is_what_it_was(log: AsyncLog, tmp_path: Path) -> None:
    """The seal covers the run's own events up to it, wherever the run lies in the log, and says what any other fold says."""
    path = tmp_path / "run.zip"
    sealed = await sealed_archive(log, path)
    assert sealed.events.first > 10
    with open_table(str(path), log.settings, folded=False) as table:
        verdict = await asyncio.to_thread(verify, table, ways=WAYS)
    assert verdict.good
    assert (verdict.first, verdict.last, verdict.beyond) == (sealed.events.first, sealed.events.last, 1)
    assert verdict.sealed == sealed.sha256
    assert verdict.tables >= 10
    assert verdict.other_sql == ()


async def test_a_table_that_differs_is_named(log: AsyncLog, tmp_path: Path) -> None:
    """A record that says something else than at the end: the tables that it shows in are named, and no other."""
    await sealed_archive(log, tmp_path / "run.zip")
    forged = await fold(log, tmp_path / "forged.duckdb")
    with open_table(str(forged), log.settings) as table:
        assert (await asyncio.to_thread(verify, table, ways=WAYS)).good
    with duckdb.connect(str(forged)) as connection:
        connection.execute("UPDATE events SET exit_code = 99 WHERE type = 'vm.entry_finished' AND exit_code = 3")
    with open_table(str(forged), log.settings) as table:
        verdict = await asyncio.to_thread(verify, table, ways=WAYS)
    assert not verdict.good
    assert verdict.changed == ("attempt",)
    assert verdict.unequal == ()


async def test_projections_of_other_sql_are_not_compared(
    log: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was sealed by an older version is compared in what has not changed; the rest is named."""
    path = tmp_path / "run.zip"
    folder = tmp_path / "projections"
    from vmr import contract  # noqa: PLC0415 - what is patched below

    shutil.copytree(contract.projections(), folder)
    changed = folder / "12_reboots.sql"
    changed.write_text(changed.read_text() + "\n-- another text\n")
    with monkeypatch.context() as patched:
        patched.setattr("vmr.replay.hashes.load_projections", lambda: _load(folder))
        await sealed_archive(log, path)
    with open_table(str(path), log.settings, folded=False) as table:
        verdict = await asyncio.to_thread(verify, table, ways=WAYS)
    assert verdict.good
    assert verdict.other_sql == ("reboots",)


def _load(folder: Path) -> object:
    from vmr.projections import load_projections  # noqa: PLC0415 - as it is, unpatched

    return load_projections(folder)


async def test_a_run_without_a_seal_is_folded_twice(log: AsyncLog, tmp_path: Path) -> None:
    """There is nothing to compare with, and that is said."""
    await publish_run(log, vms=3)
    async with serving(query_service.main, log, "last_sequence"):
        await create_archive(log, None, tmp_path / "run.zip")
    with open_table(str(tmp_path / "run.zip"), log.settings, folded=False) as table:
        verdict = await asyncio.to_thread(verify, table, ways=WAYS)
    assert verdict.good
    assert verdict.sealed is None


async def test_a_seal_of_more_events_than_there_are_is_named(log: AsyncLog, tmp_path: Path) -> None:
    """A record whose beginning is missing cannot be compared."""
    await publish_run(log, vms=1)
    await log.publish(ExperimentSealed(events=SealedEvents(1, 5000), projections=(), sha256="0" * 64))
    async with serving(query_service.main, log, "last_sequence"):
        await create_archive(log, None, tmp_path / "run.zip")
    with (
        open_table(str(tmp_path / "run.zip"), log.settings, folded=False) as table,
        pytest.raises(DataError, match="covers 5,000 events"),
    ):
        await asyncio.to_thread(verify, table, ways=WAYS)


async def test_what_cannot_be_sealed_ends_all_the_same(log: AsyncLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: it is reported, and nothing is raised."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    await publish_run(log, vms=1)
    monkeypatch.setattr("vmr.replay.seal.Projector", full)
    assert not await try_to_seal(log, 1)
    assert not [each async for batch in log.read() for each in batch if each.event.type == "experiment.sealed"]


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), first=st.integers(2, 10_000))
def test_a_seal_does_not_depend_on_where_the_run_lies(data: st.DataObject, first: int) -> None:
    """Random runs, at another place in the log and cut into other batches, come to the same hashes."""
    history = data.draw(histories(FAMILIES["everything"]))
    moved = [msgspec.structs.replace(each, sequence=each.sequence + first - 1) for each in history]
    seals = []
    for batches in ([counted_from_one(moved, first)], [[each] for each in history]):
        projector = Projector()
        for batch in batches:
            projector.apply(batch)
        seals.append(overall(hashes_of(projector.reader())))
        projector.close()
    assert seals[0] == seals[1]


def test_settings_are_not_needed_for_files(tmp_path: Path) -> None:
    """A file that is missing is named, whatever the database."""
    with pytest.raises(Exception, match="no file"), open_table("none.zip", Settings(home=tmp_path)):
        pass
