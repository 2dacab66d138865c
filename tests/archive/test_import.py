"""An archive goes back into a server, and out again, equal hash for hash."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from secrets import token_hex

import msgspec
import pytest

from tests.archive.runs import publish_run
from tests.archive.test_create import messages
from tests.readmodel.conftest import serving
from vmr import query_service
from vmr.archive import Archive, create_archive, import_archive, open_archive
from vmr.archive import _import as importing
from vmr.errors import DamagedArchiveError, InvalidInputError, PublishError
from vmr.events import VmAdded
from vmr.log import AsyncLog, events_at
from vmr.messages import Raw
from vmr.server import EmbeddedServer
from vmr.settings import Settings


@pytest.fixture
def elsewhere(settings: Settings) -> Settings:
    """Return settings for a database that is not there yet."""
    return msgspec.structs.replace(settings, db=f"other_{token_hex(6)}")


async def archived_again(settings: Settings, path: Path) -> Path:
    """Return an archive of the current run of a database."""
    async with (
        await AsyncLog.connect(settings, create=False) as log,
        serving(query_service.main, log, "last_sequence"),
    ):
        await create_archive(log, None, path, part_events=100)
    return path


@pytest.fixture
async def second_server(tmp_path: Path, archived: tuple[Settings, Path]) -> AsyncIterator[Settings]:
    """Yield settings for a database of the same name on another server."""
    there = Settings(home=tmp_path / "second", db=archived[0].db)
    server = EmbeddedServer(there.server_dir)
    await server.start(die_with_parent=True)
    yield there
    await server.stop()


async def test_round_trip_is_equal_hash_for_hash(archive: Path, second_server: Settings, tmp_path: Path) -> None:
    """On another server, in a database of the same name, every part, object and head of the chain is the same, to the bit."""
    await import_archive(second_server, archive)
    again = await archived_again(second_server, tmp_path / "again.zip")
    with open_archive(archive) as one, open_archive(again) as two:
        assert one.manifest.parts == two.manifest.parts
        assert one.manifest.members[2:] == two.manifest.members[2:]
        assert (one.manifest.chain, one.manifest.counts) == (two.manifest.chain, two.manifest.counts)


async def test_another_name_keeps_the_chain(archive: Path, elsewhere: Settings, tmp_path: Path) -> None:
    """The database's name is in the subjects, and not in the chain."""
    await import_archive(elsewhere, archive)
    again = await archived_again(elsewhere, tmp_path / "again.zip")
    with open_archive(archive) as one, open_archive(again) as two:
        assert [(part.before, part.after) for part in one.parts] == [(part.before, part.after) for part in two.parts]
        wanted = [(raw.sequence, raw.stored, raw.data) for batch in one.raw() for raw in batch]
        assert wanted == [(raw.sequence, raw.stored, raw.data) for batch in two.raw() for raw in batch]


async def test_a_later_run_keeps_its_sequences_and_its_number(
    recorded: AsyncLog, elsewhere: Settings, tmp_path: Path
) -> None:
    """Run 2 alone begins where it began, is run 2 for every projector, and the first run may not follow it."""
    await recorded.clear()
    last = await publish_run(recorded, 3, name="second")
    manifest = await create_archive(recorded, "second", tmp_path / "second.zip")
    assert (manifest.run, manifest.last) == (2, last)
    await import_archive(elsewhere, tmp_path / "second.zip")
    async with await AsyncLog.connect(elsewhere, create=False) as log:
        assert await log.beginning() == (manifest.first, 2)
        [event] = await events_at(log, [last])
        [original] = await events_at(recorded, [last])
        assert event is not None
        assert original is not None
        assert (event.stored, event.data) == (original.stored, original.data)
    again = await archived_again(elsewhere, tmp_path / "again.zip")
    with open_archive(again) as opened:
        assert (opened.manifest.chain, opened.manifest.run) == (manifest.chain, 2)


async def test_runs_follow_one_another(recorded: AsyncLog, elsewhere: Settings, tmp_path: Path) -> None:
    """Archives of all runs, imported in order, are the whole log again."""
    await recorded.clear()
    await publish_run(recorded, 3, name="second")
    for name in ("1", "2"):
        await create_archive(recorded, name, tmp_path / f"{name}.zip")
    await import_archive(elsewhere, tmp_path / "1.zip")
    await import_archive(elsewhere, tmp_path / "2.zip")
    async with await AsyncLog.connect(elsewhere, create=False) as log:
        found, wanted = await messages(log), await messages(recorded)
        assert [(raw.stored, raw.data) for raw in found] == [(raw.stored, raw.data) for raw in wanted]


async def test_a_run_that_does_not_follow_is_refused(recorded: AsyncLog, elsewhere: Settings, tmp_path: Path) -> None:
    """A gap between what is there and what would come is never made."""
    await recorded.clear()
    await create_archive(recorded, "2", tmp_path / "2.zip")
    async with await AsyncLog.connect(elsewhere) as log:
        await log.publish(VmAdded(server_uuid="x", server_name="x"))
        with pytest.raises(InvalidInputError, match=r"holds the events 1 to 1, .* do not follow: .*--db NAME"):
            await import_archive(elsewhere, tmp_path / "2.zip")
        assert await log.last_sequence() == 1


async def test_an_interrupted_import_goes_on(
    archive: Path, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is compared, and the rest follows; a failure in the middle says how far it came."""
    whole = importing._batches

    def some(opened: Archive, first: int) -> Iterator[list[Raw]]:
        for number, batch in enumerate(whole(opened, first)):
            if number == 2:
                raise PublishError("the server is gone")
            yield batch

    monkeypatch.setattr(importing, "_BATCH", 50)
    monkeypatch.setattr(importing, "_batches", some)
    with pytest.raises(PublishError, match="the server is gone; the events up to 100 are in database"):
        await import_archive(elsewhere, archive)
    monkeypatch.setattr(importing, "_batches", whole)
    manifest = await import_archive(elsewhere, archive)
    await import_archive(elsewhere, archive)
    async with await AsyncLog.connect(elsewhere, create=False) as log:
        assert await log.last_sequence() == manifest.last


async def test_another_log_is_refused_and_left_as_it_is(archive: Path, elsewhere: Settings) -> None:
    """A database with other events takes nothing."""
    async with await AsyncLog.connect(elsewhere) as log:
        await log.publish(VmAdded(server_uuid="x", server_name="x"))
        with pytest.raises(InvalidInputError, match="holds another event 1 than the archive"):
            await import_archive(elsewhere, archive)
        assert await log.last_sequence() == 1


async def test_a_damaged_archive_is_not_imported(archive: Path, elsewhere: Settings) -> None:
    """Nothing is recorded, and no database made."""
    os.truncate(archive, 20_000)
    with pytest.raises(DamagedArchiveError, match="first bad event is"):
        await import_archive(elsewhere, archive)
    with pytest.raises(OSError, match="has no database"):
        await AsyncLog.connect(elsewhere, create=False)
