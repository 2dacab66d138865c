"""Archives opened without a server: the same answers as of the database, kept in a cache, by several processes at once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vmr
from tests.readmodel.conftest import serving
from tests.readmodel.tables import contents
from tests.replay.conftest import Saved, fold
from vmr import query_service
from vmr.archive import create_archive
from vmr.cli import main
from vmr.errors import DataError, InvalidInputError, QueryError
from vmr.log import AsyncLog
from vmr.opened import opened
from vmr.opened.cache import cache_folder
from vmr.projections import load_queries, load_questions
from vmr.record import connect, open_run
from vmr.settings import Settings

FROM_THE_CLOCK = {"last_sequence"}


def tables(path: Path) -> dict[str, list[str]]:
    """Return what a read model's file holds, its events included."""
    with connect(path) as connection:
        held = contents(connection)
        # DuckDB spells some characters in JSON in another way than the log did.
        rows = connection.execute(
            "SELECT (SELECT e::VARCHAR FROM (SELECT events.* EXCLUDE (body)) AS e), body FROM events ORDER BY seq"
        ).fetchall()
        held["events"] = [f"{row}{json.loads(body)}" for row, body in rows]
    assert held["vm"]
    return {name: rows for name, rows in held.items() if name not in {"projections", "rebuilds"}}


def test_an_opened_archive_holds_what_the_database_held(saved: Saved) -> None:
    """Every table and every event is the same, large schedules and odd bytes included; every query and question answers alike."""
    with opened(saved.archive) as found:
        assert tables(found.record) == tables(saved.record)
    names = (load_queries() | load_questions()).keys() - FROM_THE_CLOCK
    with vmr.open(saved.archive) as one, vmr.open(saved.record) as other:
        for name in sorted(names):
            assert one.query(name).rows == other.query(name).rows, name
            assert one.query(name, as_of="start").rows == other.query(name, as_of="start").rows, name


async def test_messages_that_are_no_events_are_opened_as_they_were(log: AsyncLog, tmp_path: Path) -> None:
    """What does not decode, and what a later version said, is in the opened archive as it was in the read model."""
    await log.add_vm("1", "a")
    client = log.connection.client
    for data in (
        b"\xff\xfe",
        b"{}",
        b'{"id":"x","time":"2026-01-31T12:00:00Z","producer":"p","version":9,"body":{"type":"vm.new"}}',
    ):
        await client.jetstream().publish(f"vmr.{log.db}.vm.1.added", data)
    there = await fold(log, tmp_path / "there.duckdb")
    async with serving(query_service.main, log, "last_sequence"):
        await create_archive(log, None, tmp_path / "run.zip")
    with opened(tmp_path / "run.zip") as found:
        assert tables(found.record) == tables(there)
    with vmr.open(tmp_path / "run.zip") as run:
        kinds = {row["kind"] for row in run.query("anomalies").records()}
        assert "unknown event" in kinds


def test_the_second_time_it_is_there_already(archive: Path) -> None:
    """Nothing is unpacked or folded again, unless the cache is not wanted; then nothing of it is left."""
    told: list[str] = []

    def tell(what: str, _done: int, _all: int) -> None:
        told.append(what)

    with vmr.open(archive, tell=tell) as run:
        first = run.sql("SELECT * FROM vms ORDER BY server_name").rows
    assert {"unpacking", "folding"} <= set(told)
    told.clear()
    with vmr.open(archive, tell=tell) as run:
        assert run.sql("SELECT * FROM vms ORDER BY server_name").rows == first
    assert told == []
    files = sorted(cache_folder().rglob("*"))
    with vmr.open(archive, cache=False, tell=tell) as run:
        assert run.sql("SELECT * FROM vms ORDER BY server_name").rows == first
    assert told
    assert sorted(cache_folder().rglob("*")) == files


def test_a_cache_that_cannot_be_written_is_done_without(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is where the folder should be, as on a disk that is read-only."""
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    with vmr.open(archive) as run:
        assert len(run.sql("SELECT * FROM vms ORDER BY server_name").rows) == 40


def test_old_archives_make_room_unless_somebody_reads_them(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one, the one that was asked for longest ago goes; one that is open stays."""
    monkeypatch.setattr("vmr.opened.cache._MOST_ARCHIVES", 1)
    others = [cache_folder() / name for name in ("old", "older")]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    with opened(archive) as found:
        assert not any(folder.exists() for folder in others)
        others[0].mkdir()
        with opened(archive):
            assert found.record.is_file()
    assert not others[0].exists()


def test_two_processes_open_it_at_once(archive: Path) -> None:
    """Both answer, and one of them made what both read."""
    code = "import sys, vmr\nwith vmr.open(sys.argv[1]) as run: print(run.sql('SELECT count(*) FROM attempts').rows)"
    command = [sys.executable, "-c", code, str(archive)]
    running = [subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["[(40,)]\n"] * 3
    assert len(list(cache_folder().glob("*/*.duckdb"))) == 1


def test_people_read_the_archive_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    """The files of the archive are readable through its tables; other files, and the cache's own, are closed to writing."""
    with vmr.open(archive) as run:
        for refused in (
            "SELECT * FROM read_text('/etc/passwd')",
            "SELECT * FROM read_parquet('/tmp/*.parquet')",
            f"COPY (SELECT 1) TO '{tmp_path}/x'",
            "DELETE FROM attempt",
        ):
            with pytest.raises(QueryError):
                run.sql(refused)


def test_a_damaged_archive_is_named_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    """A flipped bit in the events, a cut tail, and a file of something else: one line each, and no half-made cache."""
    data = bytearray(archive.read_bytes())
    middle = data.find(b"PAR1") + 100
    data[middle] ^= 1
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged\.zip"), vmr.open(damaged):
        pass
    damaged.write_bytes(data[: len(data) // 2])
    with pytest.raises((DataError, InvalidInputError), match=r"damaged\.zip"), vmr.open(damaged):
        pass
    damaged.write_text("hello")
    with pytest.raises((DataError, InvalidInputError), match=r"damaged\.zip"), vmr.open(damaged):
        pass
    with pytest.raises(InvalidInputError, match="no file"), vmr.open(tmp_path / "none.zip"):
        pass
    assert not list(cache_folder().rglob("*.duckdb"))
    assert not list(cache_folder().rglob("*.part"))


def test_a_run_of_an_archive_is_a_run_of_the_record(archive: Path, tmp_path: Path) -> None:
    """What looks at one run takes an archive as it takes a read model's file."""
    with open_run(str(archive), Settings(home=tmp_path)) as path, connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM vms").fetchall() == [(40,)]
        assert connection.execute("SELECT name FROM current_run").fetchall() == [("small",)]


def test_the_commands_ask_an_archive(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`vmr open`, and `--source` of `vmr sql`, `vmr ask` and `vmr vm list`, now and as of a moment; mistakes are one line."""

    def vmr_command(*words: str, stdin: str = "", code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        assert main(["--home", str(tmp_path / "home"), *words]) == code
        said = capsys.readouterr()
        return said.out, said.err

    source = ("--source", str(archive))
    counted, noted = vmr_command("sql", "SELECT count(*) AS n FROM vms", "--json", *source)
    assert json.loads(counted) == {"n": 40}
    assert noted == ""
    before, _ = vmr_command("sql", "SELECT count(*) AS n FROM vms", "--json", "--as-of", "2", *source)
    assert json.loads(before) == {"n": 0}
    named, _ = vmr_command("ask", "slowest_entries", "--limit", "1", "--csv", *source)
    assert "0.25" in named
    listed, _ = vmr_command("vm", "list", "name", "state", "--csv", *source)
    assert "web-7,configured" in listed
    shell, _ = vmr_command("open", str(archive), "--csv", stdin="SELECT count(*) AS n FROM attempts;\n")
    assert "40" in shell
    for words in (("open", "none.zip"), ("sql", "SELECT 1", "--source", "none.zip")):
        _, wrong = vmr_command(*words, code=2)
        assert wrong.count("\n") == 1
        assert "none.zip" in wrong
