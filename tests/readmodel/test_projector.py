"""The projector: one transaction per batch, each event once, and a read model that survives its process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.readmodel.conftest import serving
from tests.readmodel.histories import record
from tests.readmodel.tables import contents
from vmr import contract, events, query_service
from vmr.errors import DataError, LogUnavailableError, QueryError
from vmr.log import AsyncLog
from vmr.projector import Projector
from vmr.schedule import Entry
from vmr.settings import Settings

VMS = [events.VmAdded(server_uuid=str(n), server_name=f"host{n}") for n in range(20)]


def test_events_that_come_again_are_skipped(projector: Projector) -> None:
    """A batch that overlaps what is folded already adds what is new in it, and nothing else."""
    history = record(VMS)
    assert projector.apply(history[:10]) == 10
    assert projector.apply(history[5:15]) == 5
    assert projector.apply(history[:15]) == 0
    assert projector.cursor == 15
    assert projector.reader().execute("SELECT count(*), count(DISTINCT seq) FROM events").fetchall() == [(15, 15)]


@pytest.mark.parametrize("places", [[1], [0, 2], [0, 1, 1]])
def test_a_gap_is_an_error_and_changes_nothing(projector: Projector, places: list[int]) -> None:
    """The log has no gaps: an event that is missing is named, and nothing of the batch is kept."""
    history = record(VMS)
    with pytest.raises(DataError, match="the log has no event"):
        projector.apply([history[place] for place in places])
    assert projector.cursor == 0
    assert projector.reader().execute("SELECT count(*) FROM events").fetchall() == [(0,)]
    assert projector.apply(history) == 20


def test_a_fold_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Rows and cursor go back together, and the projector goes on with the next batch."""
    _copy_with(tmp_path, "99_bad.sql", "SELECT error('on purpose') FROM batch WHERE server_uuid = '7';", "vm.removed")
    projector = Projector(folder=tmp_path)
    projector.apply(record(VMS))
    before = contents(projector.reader())
    with pytest.raises(duckdb.Error, match="on purpose"):
        projector.apply(record([VMS[0], events.VmRemoved(server_uuid="7")], 21))
    assert contents(projector.reader()) == before
    assert projector.apply(record([events.VmRemoved(server_uuid="8")], 21)) == 1
    projector.close()


def _copy_with(folder: Path, name: str, fold: str, event: str) -> None:
    shutil.copytree(contract.projections(), folder, dirs_exist_ok=True)
    header = "-- projection: extra\n-- A test's own.\n"
    table = "-- section: table\nCREATE TABLE extra (seq BIGINT);\n"
    views = "-- section: views\nCREATE VIEW extra_view AS SELECT * FROM extra;\n"
    (folder / name).write_text(f"{header}{table}-- section: fold on {event}\n{fold}\n{views}")


def test_a_new_projection_is_one_file_and_is_filled_from_the_past(tmp_path: Path) -> None:
    """A projection that is added, changed or taken away changes itself alone, at the next start."""
    folder, path = tmp_path / "projections", tmp_path / "read_model.duckdb"
    projector = Projector(path)
    projector.apply(record(VMS))
    before = contents(projector.reader())
    projector.close()

    def extra(fold: str) -> list[int]:
        _copy_with(folder, "99_extra.sql", fold, "vm.added")
        projector = Projector(path, folder=folder)
        projector.apply(record(VMS, 21)[:1])
        rows = projector.reader().execute("SELECT seq FROM extra_view ORDER BY seq").fetchall()
        projector.close()
        return [seq for (seq,) in rows]

    assert extra("INSERT INTO extra SELECT seq FROM batch WHERE type = 'vm.added' AND seq > 17;") == [18, 19, 20, 21]
    assert extra("INSERT INTO extra SELECT -seq FROM batch WHERE type = 'vm.added' AND seq > 19;") == [-21, -20]
    projector = Projector(path)
    after = contents(projector.reader())
    assert after.keys() == before.keys()
    assert after["projections"] == before["projections"]
    assert len(after["vm"]) == 20
    projector.close()


@pytest.mark.parametrize(
    "fold",
    [
        "INSERT INTO extra SELECT count(*) FROM batch;",
        "INSERT INTO extra SELECT n FROM (SELECT count(*) AS n FROM batch AS b WHERE b.type = 'vm.added');",
        "-- batch by batch\nwith own AS (SELECT count(*) AS n FROM batch b) INSERT INTO extra SELECT n FROM own;",
        (
            "/* batch */ WITH RECURSIVE up AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM up WHERE n < (SELECT count(*) FROM batch))"
            " INSERT INTO extra SELECT max(n) FROM up;"
        ),
        "INSERT INTO extra SELECT count(*) FROM (SELECT * FROM BATCH, (SELECT '-- batch' AS word)) WHERE producer <> '';",
        "INSERT INTO extra SELECT n FROM (WITH own AS (FROM batch WHERE (SELECT true)) SELECT count(server_name) AS n FROM own);",
        (
            "CREATE TEMP TABLE kept AS SELECT * FROM events LIMIT 0; INSERT INTO kept BY NAME FROM batch WHERE (SELECT true);"
            "INSERT INTO extra SELECT count(server_name) FROM kept; DROP TABLE kept;"
        ),
        "INSERT INTO extra SELECT count(*) FROM batch WHERE batch::VARCHAR LIKE '%server_name%';",
        "INSERT INTO extra SELECT count(*) FROM (FROM batch) AS whole WHERE whole.server_name LIKE 'host%';",
        "INSERT INTO extra SELECT count(*) FROM batch AS a JOIN batch AS b ON a.seq = b.seq AND a.server_name = b.server_name;",
        (
            "INSERT INTO extra VALUES (0); UPDATE extra SET seq = (SELECT count(*) FROM batch) WHERE seq = 0; INSERT INTO extra VALUES (0);"
            "DELETE FROM extra WHERE seq = 0;"
        ),
        "MERGE INTO extra USING (SELECT count(*) AS n FROM batch) AS b ON false WHEN NOT MATCHED THEN INSERT VALUES (b.n);",
    ],
)
def test_a_fold_reads_its_batch_however_it_is_written(tmp_path: Path, fold: str) -> None:
    """Each statement of a fold finds the events of its batch, all of their columns and no other event, by the name ``batch``."""
    _copy_with(tmp_path, "99_extra.sql", fold, "vm.added")
    projector = Projector(folder=tmp_path)
    history = record(VMS)
    projector.apply(history[:12])
    projector.apply(history[12:])
    assert projector.reader().execute("SELECT seq FROM extra ORDER BY seq").fetchall() == [(8,), (12,)]
    projector.close()


def test_other_columns_make_the_read_model_begin_again(tmp_path: Path) -> None:
    """When the table of events itself changes, the log is read again from its first event."""
    folder, path = tmp_path / "projections", tmp_path / "read_model.duckdb"
    projector = Projector(path)
    projector.apply(record(VMS))
    projector.close()
    shutil.copytree(contract.projections(), folder)
    first = folder / "01_events.sql"
    first.write_text(first.read_text().replace("Who says so", "Who says that"))
    projector = Projector(path, folder=folder)
    assert projector.cursor == 0
    assert projector.reader().execute("SELECT count(*) FROM vm").fetchall() == [(0,)]
    assert projector.apply(record(VMS)) == 20
    projector.close()


def test_a_read_model_has_one_process(tmp_path: Path) -> None:
    """A second projector on the same file is told to leave it alone."""
    path = tmp_path / "read_model.duckdb"
    code = f"from vmr.projector import Projector; p = Projector({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LogUnavailableError, match="open in another process"):
            Projector(path)
        other.communicate(b"\n")


def test_something_else_in_its_place_is_named(tmp_path: Path) -> None:
    """A file that is no database is not overwritten."""
    path = tmp_path / "read_model.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DataError, match="delete it, the log has it all"):
        Projector(path)


def _projector_process(settings: Settings) -> subprocess.Popen[bytes]:
    code = (
        "import asyncio, sys; from pathlib import Path; from vmr.settings import Settings; from vmr.query_service import main\n"
        "asyncio.run(main(Settings(home=Path(sys.argv[1]), db=sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(settings.home), settings.db]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _folded_cursor(path: Path) -> int:
    projector = Projector(path)
    cursor: int = projector.cursor
    projector.close()
    return cursor


async def _grown(path: Path, *, by: int) -> None:
    """Wait until the files of the read model at ``path`` have grown by so many bytes."""

    def size() -> int:
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))

    begun = size()
    async with asyncio.timeout(30):
        while size() < begun + by:  # noqa: ASYNC110 - another process writes the file
            await asyncio.sleep(0.005)


async def test_a_killed_projector_goes_on_where_it_was(log: AsyncLog) -> None:
    """Kill -9 at random moments while it folds: its tables end up equal to those of a fold without any interruption."""
    bodies: list[events.KnownBody] = [events.VmAdded(server_uuid=str(n), server_name=f"h{n}") for n in range(500)]
    for n in range(20_000):
        uuid = str(n % 500)
        bodies.append(events.VmStateSet(server_uuid=uuid, state=str(n)))
        bodies.append(events.EntryStarted(server_uuid=uuid, entry=f"{n}/x", attempt=1, name="x", start_time="1"))
    last = (await log.publish_many(bodies))[-1]
    path = log.settings.database_dir / query_service.READ_MODEL
    seen = []
    for growth in (1, 1_500_000, 2_500_000, 2_500_000):
        process = _projector_process(log.settings)
        await _grown(path, by=growth)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        seen.append(_folded_cursor(path))
    assert seen == sorted(seen)
    assert any(0 < cursor < last for cursor in seen)
    async with serving(query_service.main, log, "last_sequence"):
        assert (await log.query("last_sequence", after=last)).rows[0][0] == last
    interrupted, whole = Projector(path), Projector()
    async for batch in log.read():
        whole.apply(batch)
    assert contents(interrupted.reader()) == contents(whole.reader())
    interrupted.close()
    whole.close()


async def test_a_terminated_projector_ends_in_time(log: AsyncLog) -> None:
    """Cancelled in the middle of its work, the service closes its read model within moments."""
    async with serving(query_service.main, log, "last_sequence"):
        await log.publish_many([events.VmStateSet(server_uuid="a", state=str(n)) for n in range(3000)])
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    assert _folded_cursor(log.settings.database_dir / query_service.READ_MODEL) >= 0


async def test_a_read_model_of_another_log_is_made_anew(log: AsyncLog) -> None:
    """Where the server's folder was deleted, the read model of the old log is not mixed with the new one."""
    path = log.settings.database_dir / query_service.READ_MODEL
    old = Projector(path)
    old.apply(record(VMS))
    old.close()
    await log.publish(events.VmAdded(server_uuid="new", server_name="new"))
    async with serving(query_service.main, log, "last_sequence"):
        assert (await log.query("vm_states")).rows == [("new", "new", "uninitialized")]


async def test_a_damaged_read_model_is_made_anew(log: AsyncLog) -> None:
    """A file that DuckDB cannot read is put aside; the log has everything that was in it."""
    path = log.settings.database_dir / query_service.READ_MODEL
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged" * 10_000)
    await log.publish(events.VmAdded(server_uuid="a", server_name="a"))
    async with serving(query_service.main, log, "last_sequence"):
        assert (await log.query("vm_states")).rows == [("a", "a", "uninitialized")]
    assert path.with_name(f"{path.name}.unused").read_bytes().startswith(b"damaged")


async def test_a_query_that_fails_inside_is_an_error_of_the_asker(queries: AsyncLog) -> None:
    """DuckDB's words reach the asker in one line."""
    with pytest.raises(QueryError, match=r"query 'output': .*too large for 128-bit"):
        await queries.query("output", {"server_name": 2**200})


async def test_a_schedule_too_large_for_an_event_is_in_the_read_model(queries: AsyncLog) -> None:
    """Its entries are in the object store; the read model has every one of them all the same."""
    entries = tuple(Entry(id=f"e{n}", start_time=5, executable="x", arguments="y" * 2000) for n in range(6000))
    await queries.put_schedule("big", entries)
    answer = await queries.query("schedule_entries", {"server_name": "big"}, timeout=30.0)
    assert len(answer.rows) == len(entries)
