"""Archives are taken whole from the log, in constant memory, and on after an interruption."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec
import pytest

from tests.archive.runs import EXPERIMENT, NESTED, publish_run
from vmr.archive import _container_writer, create_archive, open_archive, verify_archive
from vmr.archive import _create as creating
from vmr.archive import _writer_process as making
from vmr.archive._chain import Chain
from vmr.archive._folder import Plan, working_folder
from vmr.archive._parts import Finished, PartWriter
from vmr.errors import DataError, InvalidInputError, LogUnavailableError
from vmr.events import ExperimentEnded, ResourceUploaded, VmAdded
from vmr.log import AsyncLog
from vmr.log._feed import Feed
from vmr.messages import Raw
from vmr.projector import Projector
from vmr.record import Run, run_of
from vmr.schedule import Entry, EntryFile, ObjectRef


async def messages(log: AsyncLog) -> list[Raw]:
    """Return every message of the log."""
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
    return [raw async for batch in feed.batches(stop=await log.last_sequence()) for raw in batch]


async def test_an_archive_has_every_message_as_the_log_had_it(archived_log: AsyncLog, archive: Path) -> None:
    """Sequence, time to the nanosecond, subject and bytes; and the events that these say."""
    wanted = [(raw.sequence, raw.stored, raw.subject, raw.data) for raw in await messages(archived_log)]
    with open_archive(archive) as opened:
        found = [raw for batch in opened.raw() for raw in batch]
        events = [event for batch in opened.recorded(5, 120) for event in batch]
    assert [(raw.sequence, raw.stored, raw.subject, raw.data) for raw in found] == wanted
    assert events == [event async for batch in archived_log.read(start=5, stop=120) for event in batch]
    assert not archive.with_name("run.zip.part").exists()


async def test_the_columns_are_those_of_the_read_model(archived_log: AsyncLog, archive: Path, tmp_path: Path) -> None:
    """DuckDB alone reads the parts: the same values as in the table of events, and the body out of the message."""
    projector = Projector()
    async for batch in archived_log.read():
        projector.apply(batch)
    with open_archive(archive) as opened:
        paths = [str(path) for path in opened.extract_events(tmp_path)]
    reader = projector.reader()
    reader.execute("SET VARIABLE parts = $parts", {"parts": paths})
    kept = "SELECT * EXCLUDE (stored_ns, payload, chain) FROM read_parquet(getvariable('parts'))"
    both = f"SELECT count(*) FROM ({kept} INTERSECT ALL SELECT * EXCLUDE (body) FROM events)"  # noqa: S608 - a test's own
    assert reader.execute(both).fetchall() == [(await archived_log.last_sequence(),)]
    bodies = "SELECT seq, (decode(payload)::JSON->'$.body'->>'type') = type FROM read_parquet(getvariable('parts'))"
    assert all(agrees for _, agrees in reader.execute(bodies).fetchall())
    projector.close()


def test_objects_schemas_and_the_experiment_are_in_it(archive: Path, tmp_path: Path) -> None:
    """What events refer to, also from within a schedule that is an object itself; and each file is what its name says."""
    with open_archive(archive) as opened:
        assert opened.experiment == EXPERIMENT
        assert {ref.size for ref in opened.objects} > {len(EXPERIMENT), 420, 1000, len(NESTED)}
        for ref in opened.objects:
            assert hashlib.sha256(opened.object(ref)).hexdigest() == ref.sha256
            opened.extract_object(ref.sha256, tmp_path / ref.sha256)
            assert (tmp_path / ref.sha256).stat().st_size == ref.size
        with pytest.raises(DataError, match="is not in"):
            opened.object(ObjectRef("0" * 64, 1))
        assert opened.manifest.missing == ()
        assert opened.manifest.ended
    with zipfile.ZipFile(archive) as plain:
        assert plain.testzip() is None
        assert "schemas/vm.added.v1.json" in plain.namelist()
        assert b"duckdb -c" in plain.read("README.txt")


async def test_resources_of_earlier_runs_are_in_it(recorded: AsyncLog, tmp_path: Path) -> None:
    """A schedule names a file that the run before had uploaded: its content is there, and its name."""
    await recorded.clear()
    await recorded.publish(ResourceUploaded(store="vm_resources", name="own", object=await recorded.put_object(b"own")))
    files = tuple(EntryFile(location=f"/{name}", resource=name) for name in ("a.img", "own", "nobody-has-it"))
    await recorded.put_schedule("web-0", [Entry(id="5/files", start_time=5, files=files)])
    manifest = await create_archive(recorded, None, tmp_path / "x.zip")
    assert manifest.resources == {"a.img": ObjectRef(hashlib.sha256(bytes(1000)).hexdigest(), 1000)}
    with open_archive(tmp_path / "x.zip") as archive:
        assert archive.object(archive.manifest.resources["a.img"]) == bytes(1000)
        assert {ref.size for ref in archive.objects} == {1000, 3}


async def test_it_stops_where_it_is_told(recorded: AsyncLog, tmp_path: Path) -> None:
    """At a named sequence, which must be one of the run's; parts have the same bytes as those of the whole run."""
    await create_archive(recorded, "small", tmp_path / "all.zip", part_events=50)
    await create_archive(recorded, "1", tmp_path / "some.zip", until=120, part_events=50)
    with open_archive(tmp_path / "all.zip") as whole, open_archive(tmp_path / "some.zip") as some:
        assert (some.manifest.last, some.manifest.ended, len(some.parts)) == (120, False, 3)
        assert some.parts[:2] == whole.parts[:2]
    with pytest.raises(InvalidInputError, match="run 1 has the events 1 to"):
        await create_archive(recorded, None, tmp_path / "more.zip", until=10_000)


async def test_the_wrong_run_or_file_is_one_clear_line(recorded: AsyncLog, archive: Path, tmp_path: Path) -> None:
    """And nothing is left behind."""
    with pytest.raises(InvalidInputError, match=r"there is no run 'nothing'.*the runs are: 1 \(small\)"):
        await create_archive(recorded, "nothing", tmp_path / "x.zip")
    with pytest.raises(InvalidInputError, match="is there already"):
        await create_archive(recorded, None, archive)
    with pytest.raises(InvalidInputError, match="there is no folder"):
        await create_archive(recorded, None, tmp_path / "no" / "x.zip")
    assert [path.name for path in await asyncio.to_thread(lambda: list(tmp_path.iterdir()))] == ["run.zip"]


async def test_what_others_keep_beside_it_is_left_alone(recorded: AsyncLog, tmp_path: Path) -> None:
    """A folder of the name of the working folder, and a call that is at work there."""
    folder = tmp_path / "x.zip.part"
    folder.mkdir()
    (folder / "thesis.tex").write_text("…")
    with pytest.raises(InvalidInputError, match=r"x.zip.part is there already, and holds no beginning of an archive"):
        await create_archive(recorded, None, tmp_path / "x.zip")
    assert (folder / "thesis.tex").exists()
    with working_folder(tmp_path / "y.zip", _plan(recorded.db)):
        with pytest.raises(InvalidInputError, match="another vmr writes this archive now"):
            await create_archive(recorded, None, tmp_path / "y.zip", part_events=50, part_bytes=10**9)
        assert (tmp_path / "y.zip.part" / "plan.json").exists()


async def test_a_run_that_goes_on_is_archived_up_to_now(recorded: AsyncLog, tmp_path: Path) -> None:
    """And later again, with the same beginning."""
    await recorded.clear()
    await recorded.publish_many([VmAdded(server_uuid=str(n), server_name="x") for n in range(150)])
    first = await create_archive(recorded, None, tmp_path / "early.zip", part_events=50)
    await recorded.publish(ExperimentEnded(reason="over"))
    second = await create_archive(recorded, None, tmp_path / "late.zip", part_events=50)
    assert (first.run, first.ended, second.ended) == (2, False, True)
    assert second.last == first.last + 1
    assert first.parts[:3] == second.parts[:3]


async def test_an_interrupted_archive_goes_on(
    recorded: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that are whole are kept, one that was damaged meanwhile is read again; the result is that of one go."""
    whole = await create_archive(recorded, None, tmp_path / "one-go.zip", part_events=50)
    keep, kept = creating._Work._keep, list[Finished]()

    def lost(work: creating._Work, finished: Sequence[Finished]) -> None:
        for one in finished:
            keep(work, [one])
            kept.append(one)
            if len(kept) == 3:
                raise LogUnavailableError("the server is gone")

    monkeypatch.setattr(creating._Work, "_keep", lost)
    with pytest.raises(LogUnavailableError, match="the server is gone"):
        await create_archive(recorded, None, tmp_path / "x.zip", part_events=50)
    assert not (tmp_path / "x.zip").exists()
    damaged = tmp_path / "x.zip.part" / kept[2].part.name
    os.truncate(damaged, 100)
    manifest = await create_archive(recorded, None, tmp_path / "x.zip", part_events=50)
    assert manifest.parts == whole.parts
    assert (manifest.counts, manifest.chain, manifest.members[2:]) == (whole.counts, whole.chain, whole.members[2:])
    assert len(kept) == 3 + len(whole.parts) - 2
    assert verify_archive(tmp_path / "x.zip").whole
    assert not (tmp_path / "x.zip.part").exists()


async def test_many_events_are_archived_by_two_processes(
    recorded: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same parts as one process makes; a gap is told; and when it dies that is told, and the next call goes on."""
    here = await create_archive(recorded, None, tmp_path / "here.zip", part_events=50)
    monkeypatch.setattr(making, "_FEW", 0)
    elsewhere = await create_archive(recorded, None, tmp_path / "elsewhere.zip", part_events=50)
    assert elsewhere.parts == here.parts
    begin = making.Begin(str(tmp_path), 1, 1, bytes(32), 50, 10**9)
    maker = await making.make_parts(begin, 100)
    with pytest.raises(DataError, match="the log has no event 1: event 7 came instead"):
        await maker.add([Raw(7, 7, "vmr.x.vm.a.added", b"{}", 0)])
    await maker.close()
    maker = await making.make_parts(begin, 100)
    assert isinstance(maker, making._Elsewhere)
    maker._process.kill()
    with pytest.raises(DataError, match="the process that writes the parts has ended"):
        await maker.finish()
    await maker.close()


async def test_the_beginning_of_another_archive_is_not_gone_on_with(
    recorded: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's, or another log's."""
    await recorded.clear()
    with monkeypatch.context() as patched:
        patched.setattr(creating, "assemble", _crash)
        with pytest.raises(LogUnavailableError):
            await create_archive(recorded, "1", tmp_path / "x.zip", part_events=50)
    with pytest.raises(InvalidInputError, match="holds the beginning of an archive of another run"):
        await create_archive(recorded, "2", tmp_path / "x.zip", part_events=50)
    other = msgspec.structs.replace(recorded.settings, db=f"{recorded.db}y")
    async with await AsyncLog.connect(other) as log:
        await publish_run(log, 39)
        run = await creating_run(recorded)
        work = creating._Work(log, run, 200, tmp_path / "x.zip.part", _plan(log.db), creating._silent, creating._mute)
        with pytest.raises(InvalidInputError, match="of another log"):
            await work.read_events()


def _crash(*_: object) -> None:
    raise LogUnavailableError("crash")


async def creating_run(log: AsyncLog) -> Run:
    """Return the first run of ``log``."""
    return await run_of(log, "1")


def _plan(db: str) -> Plan:
    return Plan(1, db, 1, 1, 50, 10**9)


async def test_an_object_that_is_gone_is_told_and_not_fatal(recorded: AsyncLog, tmp_path: Path) -> None:
    """The record without one object is better than none; the manifest and the verdict say which."""
    gone = ObjectRef(hashlib.sha256(bytes(1000)).hexdigest(), 1000)
    stream = f"OBJ_VMR_{recorded.db}_objects"
    await recorded.connection.api(f"STREAM.PURGE.{stream}", {"filter": "$O.*.M.>"}, answer=dict)
    manifest = await create_archive(recorded, None, tmp_path / "x.zip")
    assert gone in manifest.missing
    assert verify_archive(tmp_path / "x.zip").missing == manifest.missing


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that makes a file system of so many kilobytes, in the place of the one before."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def unmount() -> None:
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)

    def mount(kilobytes: int) -> Path:
        unmount()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)], check=True)
        return disk

    yield mount
    unmount()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
@pytest.mark.parametrize(("kilobytes", "few"), [(16, 0), (48, 20_000), (88, 0), (128, 20_000)])
async def test_a_full_disk_leaves_nothing_behind(
    recorded: AsyncLog, mounted: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, kilobytes: int, few: int
) -> None:
    """One clear line, wherever in the work, and in whichever process, it fills up."""
    monkeypatch.setattr(making, "_FEW", few)
    disk = mounted(kilobytes)
    with pytest.raises(InvalidInputError, match=r"x.zip: cannot be written: .*[Nn]o space left"):
        await create_archive(recorded, None, disk / "x.zip", part_events=100)
    assert [*await asyncio.to_thread(lambda: list(disk.iterdir()))] == []


def test_parts_end_at_their_limits_of_events_and_bytes(tmp_path: Path) -> None:
    """Whichever comes first; and a gap in the log is no part."""
    raws = [Raw(n, n, "vmr.x.vm.a.added", b"x" * 100, 0) for n in range(1, 101)]
    for events, size, wanted in ((30, 10**9, [30, 30, 30, 10]), (1000, 2500, [25, 25, 25, 25])):
        folder = tmp_path / str(events)
        folder.mkdir()
        writer, chain = PartWriter(folder, 1, 1, bytes(32), events=events, size=size), Chain(bytes(32), 1)
        finished = [one for batch in (raws[:33], raws[33:]) for one in writer.add(batch, chain.link(batch))]
        finished += writer.finish()
        assert [one.part.rows for one in finished] == wanted
        with pytest.raises(DataError, match="the log has no event 101"):
            chain.link([Raw(102, 1, "a.b.c", b"", 0)])
        writer.close()


async def test_the_documented_check_of_strangers_works(archive: Path, tmp_path: Path) -> None:
    """The Python program in the documentation of the format agrees, with nothing of vmr."""
    text = (Path(__file__).parents[2] / "docs/archive-format.md").read_text(encoding="utf-8")
    program = text.partition("## Verified with Python alone")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "check.py").write_text(program)
    done = await asyncio.to_thread(_run, [sys.executable, "-I", "check.py", str(archive)], tmp_path)
    with open_archive(archive) as opened:
        assert done == f"whole: {opened.manifest.events} events {opened.manifest.chain}\n"
    shutil.rmtree(tmp_path / "extracted")
    ours = text.partition("## From Python")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "ours.py").write_text(ours.replace("monday.zip", "run.zip"))
    printed = await asyncio.to_thread(_run, [sys.executable, "ours.py"], tmp_path)
    assert "run.zip is whole" in printed
    assert "ExperimentEnded(reason='finished')" in printed
    sql = text.partition("```sql\n")[2].partition("```")[0].replace("monday/", f"{tmp_path}/monday/")
    with zipfile.ZipFile(archive) as plain:
        plain.extractall(tmp_path / "monday")
    with duckdb.connect() as connection:
        for statement in sql.split(";"):
            assert not statement.strip() or connection.execute(statement).fetchall()


def _run(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


async def test_members_of_gigabytes_have_headers_of_another_length(
    recorded: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZIP64's headers, which members above 2 GB have, are found, and walked over when the directory is gone."""
    monkeypatch.setattr(_container_writer, "_SMALL", 10)
    manifest = await create_archive(recorded, None, tmp_path / "x.zip", part_events=100)
    assert verify_archive(tmp_path / "x.zip").whole
    os.truncate(tmp_path / "x.zip", manifest.parts[2].offset + 5)
    assert verify_archive(tmp_path / "x.zip").first_bad == manifest.parts[2].first
