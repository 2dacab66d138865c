"""Tables made anew: in big steps from events that are there already, and beside the old ones while those are answered from."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.conftest import serving
from tests.readmodel.histories import FAMILIES, histories, record
from tests.readmodel.tables import contents
from vmr import contract, events, query_service, read_model
from vmr.answers import Select, read
from vmr.cursor import CursorWatch
from vmr.event_columns import columns_of, insert
from vmr.log import AsyncLog
from vmr.projections import load_projections
from vmr.projector import Projector, run_projector

VMS = [events.VmAdded(server_uuid=f"{n:02d}", server_name=f"host{n}") for n in range(40)]
STARTS = [
    events.EntryStarted(server_uuid=f"{n % 40:02d}", entry=f"{n}/x", attempt=1, name="x", start_time="1")
    for n in range(80)
]
HISTORY = record([*VMS, *STARTS])


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_folding_in_steps_is_folding(data: st.DataObject) -> None:
    """Whatever the log and the step: folding events that are there already gives the read model that has followed the log."""
    history = data.draw(histories(FAMILIES["everything"]))
    step = data.draw(st.integers(1, len(history) + 1))
    followed, loaded = Projector(), Projector()
    followed.apply(history)
    insert(loaded._connection, columns_of(history, 0))
    told: list[int] = []
    read_model.fold_all(loaded._connection, load_projections(), 1, len(history), step=step, tell=told.append)
    assert contents(loaded.reader()) == contents(followed.reader())
    assert told[-1] == len(history)
    assert told == sorted(told)
    followed.close()
    loaded.close()


def test_large_events_are_folded_in_small_steps(tmp_path: Path) -> None:
    """Output that would not fit into the memory at once is folded all the same, each byte of it."""
    made = Projector(tmp_path / "read_model.duckdb")
    connection = made._connection
    for first in range(1, 401, 100):
        insert(connection, columns_of(record(_pieces(first, 100), first), 1))
    connection.execute("SET memory_limit = '130MB'")
    told: list[int] = []
    read_model.fold_all(connection, load_projections(), 1, 400, tell=told.append)
    assert connection.execute("SELECT count(*), sum(octet_length(data)) FROM output_chunk").fetchall() == [
        (400, 400 * 131_072)
    ]
    assert len(told) > 1
    assert told[-1] == 400
    made.close()


def _pieces(first: int, count: int) -> list[events.OutputCaptured]:
    return [
        events.OutputCaptured(
            server_uuid="a", entry="1/x", attempt=1, stream="stdout", offset=0, size=131_072, text=str(n % 10) * 131_072
        )
        for n in range(first, first + count)
    ]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step of what is folded anew be of ten events."""
    monkeypatch.setattr(read_model, "_BESIDE_STEP", 10)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return a folder of projections of which one makes other rows, one is new, and one is gone."""
    folder = tmp_path / "projections"
    shutil.copytree(contract.projections(), folder)
    attempts = folder / "07_attempts.sql"
    text = attempts.read_text().replace("name: name, scheduled_time", "name: upper(name), scheduled_time")
    text = text.replace(
        "vm.added.server_name AS server_name,\n    a.entry",
        "upper(vm.added.server_name) AS server_name, 7 AS seven,\n    a.entry",
    )
    attempts.write_text(text)
    new = "CREATE TABLE extra (seq BIGINT);\n-- section: fold on vm.added\nINSERT INTO extra SELECT seq FROM batch WHERE type = 'vm.added';\n"
    views = "-- section: views\nCREATE VIEW extras AS SELECT seq, a.name FROM extra LEFT JOIN all_attempts AS a ON started_seq = seq + 40;\n"
    (folder / "99_extra.sql").write_text(f"-- projection: extra\n-- A test's own.\n-- section: table\n{new}{views}")
    (folder / "12_reboots.sql").unlink()
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of a read model of the first hundred events."""
    made = Projector(tmp_path / "read_model.duckdb")
    made.apply(HISTORY[:100])
    made.close()
    return tmp_path / "read_model.duckdb"


def _names(connection: duckdb.DuckDBPyConnection) -> set[Any]:
    return {name for (name,) in connection.execute("SELECT DISTINCT name FROM all_attempts").fetchall()}


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {
        name
        for (name,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
        ).fetchall()
    }


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.usefixtures("small_steps")
def test_the_old_ones_go_on_until_the_new_ones_have_caught_up(path: Path, changed: Path, prompt: bool) -> None:  # noqa: FBT001
    """Old tables and views answer, and follow the log; then all that has changed takes its place at once."""
    following, fresh = Projector(path, folder=changed, beside=True, prompt=prompt), Projector(folder=changed)
    reader = following.reader()
    select = Select("SELECT * FROM attempts")
    columns = read(reader, select).columns
    for done in range(1, 13):
        assert following.rebuilding
        following.apply(HISTORY[: 100 + done])
        assert reader.execute("SELECT count(*) FROM attempts").fetchall() == [(60 + done,)]
        assert _names(reader) == {"x"}
        assert "reboot" in _tables(reader)
        assert "extra" not in _tables(reader)
        following.rebuild_step()
        if following.rebuilding:
            told = reader.execute("SELECT name, seq FROM rebuilds ORDER BY name").fetchall()
            assert told == [("attempts", done * 10), ("extra", done * 10)]
    assert not following.rebuilding
    assert following.generation == 1
    assert _names(reader) == {"X"}
    assert reader.execute("SELECT seven, server_name FROM attempts ORDER BY started_seq LIMIT 1").fetchall() == [
        (7, "HOST0")
    ]
    assert reader.execute("SELECT * FROM extras ORDER BY seq LIMIT 1").fetchall() == [(1, "X")]
    assert query_service.read_whole(reader, select, {}).columns == (*columns[:2], "seven", *columns[2:])
    assert following.apply(HISTORY) == len(HISTORY) - 112
    fresh.apply(HISTORY)
    assert contents(reader) == contents(fresh.reader())
    following.close()
    fresh.close()


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.usefixtures("small_steps")
def test_the_next_start_goes_on_where_it_was(path: Path, changed: Path, prompt: bool) -> None:  # noqa: FBT001
    """Closed in the middle, the old ones answer; opened again, the steps go on; with other files, they begin again."""
    for done in (10, 20):
        following = Projector(path, folder=changed, beside=True, prompt=prompt)
        following.rebuild_step()
        assert following.reader().execute("SELECT DISTINCT seq FROM rebuilds").fetchall() == [(done,)]
        assert _names(following.reader()) == {"x"}
        following.close()
    extra = changed / "99_extra.sql"
    extra.write_text(extra.read_text().replace("SELECT seq FROM batch", "SELECT -seq FROM batch"))
    following = Projector(path, folder=changed, beside=True, prompt=prompt)
    following.rebuild_step()
    assert following.reader().execute("SELECT DISTINCT seq FROM rebuilds").fetchall() == [(10,)]
    following.close()
    following = Projector(path, folder=changed)
    assert not following.rebuilding
    assert following.reader().execute("SELECT min(seq) FROM extra").fetchall() == [(-40,)]
    following.close()
    original = Projector(path, beside=True, prompt=prompt)
    original.rebuild_step()
    original.close()
    following = Projector(path, folder=changed, beside=True, prompt=prompt)
    assert not following.rebuilding
    assert following.reader().execute("SELECT count(*) FROM rebuilds").fetchall() == [(0,)]
    following.close()


def test_views_alone_are_replaced_at_once(path: Path, tmp_path: Path) -> None:
    """Nothing is folded for another view, another comment or another look back."""
    folder = tmp_path / "projections"
    shutil.copytree(contract.projections(), folder)
    attempts = folder / "07_attempts.sql"
    attempts.write_text(attempts.read_text().replace("a.start.name AS name", "a.start.name || '!' AS name"))
    following = Projector(path, folder=folder, beside=True)
    assert not following.rebuilding
    assert _names(following.reader()) == {"x!"}
    following.close()


def test_a_new_fold_that_fails_leaves_the_old_one(path: Path, changed: Path) -> None:
    """A mistake in a new version stops nobody: the old one goes on, and the log says why."""
    extra = changed / "99_extra.sql"
    extra.write_text(extra.read_text().replace("SELECT seq FROM batch", "SELECT error('on purpose') FROM batch"))
    following = Projector(path, folder=changed, beside=True)
    following.rebuild_step()
    assert not following.rebuilding
    assert following.reader().execute("SELECT count(*) FROM rebuilds").fetchall() == [(0,)]
    assert following.apply(HISTORY[:110]) == 10
    assert _names(following.reader()) == {"x"}
    assert following.reader().execute("SELECT count(*) FROM attempts").fetchall() == [(70,)]
    following.close()
    with pytest.raises(duckdb.Error, match="on purpose"):
        Projector(path, folder=changed)
    mended = (
        extra.read_text().replace("error('on purpose')", "seq, 1").replace("(seq BIGINT)", "(seq BIGINT, one BIGINT)")
    )
    extra.write_text(mended)
    following = Projector(path, folder=changed)
    assert following.reader().execute("SELECT count(one) FROM extra").fetchall() == [(40,)]
    following.close()


class _Watch(CursorWatch):
    """Tells when tables have been replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def advance(self, cursor: int, generation: int = 0) -> None:
        """Note that the read model has reached ``cursor``, with tables of ``generation``."""
        super().advance(cursor, generation)
        if generation:
            self.changed.set()


class _Source:
    """A log that has no more events until it is told."""

    def __init__(self) -> None:
        self.more = asyncio.Event()

    async def follow(self, *, start: int) -> Any:
        """Yield the events from ``start`` on."""
        await self.more.wait()
        yield HISTORY[start - 1 :]
        await asyncio.Event().wait()

    async def get_object(self, ref: Any) -> bytes:
        """Return nothing: no schedule here is large."""
        raise AssertionError(ref)


@pytest.mark.usefixtures("small_steps")
async def test_it_is_done_while_no_events_come(path: Path, changed: Path) -> None:
    """A quiet log is no reason to wait; who asks afterwards is told that the tables are other ones."""
    following, watch, source = Projector(path, folder=changed, beside=True), _Watch(), _Source()
    following.lock_down()
    task = asyncio.create_task(run_projector(source, following, watch))
    async with asyncio.timeout(20):
        await watch.changed.wait()
        source.more.set()
        assert await watch.reached(len(HISTORY), within=10)
    assert _names(following.reader()) == {"X"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    following.close()


def test_a_killed_process_leaves_the_old_ones(path: Path, changed: Path) -> None:
    """Kill -9 in the middle: the old tables are there, and the new ones come at the next start."""
    code = (
        "import sys; from pathlib import Path; from vmr import projector, read_model; read_model._BESIDE_STEP = 10\n"
        "p = projector.Projector(sys.argv[1], folder=Path(sys.argv[2]), beside=True)\n"
        "p.rebuild_step(); p.rebuild_step(); print('half', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(path), str(changed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"half\n":
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert _names(connection) == {"x"}
        assert connection.execute("SELECT DISTINCT seq FROM rebuilds").fetchall() == [(20,)]
    following = Projector(path, folder=changed)
    assert _names(following.reader()) == {"X"}
    following.close()


@pytest.mark.usefixtures("small_steps")
async def test_a_service_answers_all_the_while(log: AsyncLog, changed: Path) -> None:
    """Started with other projections than the read model's, it answers at once, first from the old ones and then from its own."""
    last = (await log.publish_many([*VMS, *(STARTS[n % 80] for n in range(400))]))[-1]
    old = Projector(log.settings.database_dir / query_service.READ_MODEL, folder=changed)
    async for batch in log.read():
        old.apply(batch)
    old.close()
    seen: list[tuple[str, ...]] = []
    async with serving(query_service.main, log, "last_sequence"), asyncio.timeout(30):
        while not seen or "seven" in seen[-1]:
            answer = await log.query("attempts")
            assert answer.sequence == last
            assert len(answer.rows) == 80
            assert all(len(row) == len(answer.columns) for row in answer.rows)
            seen.append(answer.columns)
        assert (await log.query("attempts")).records()[0]["name"] == "x"
    assert "seven" in seen[0]
