"""Snapshots: the read model as a file to take away."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.readmodel.recorded_run import recorded_bodies, recorded_run
from tests.readmodel.tables import contents
from vmr.errors import InvalidInputError, LogUnavailableError
from vmr.log import AsyncLog
from vmr.projector import Projector
from vmr.snapshot import from_file, from_log


def _files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.is_file()]


async def test_from_the_log(log: AsyncLog, tmp_path: Path) -> None:
    """Everything is in the one file: tables, views and comments, for any program that reads DuckDB."""
    last = (await log.publish_many(recorded_bodies()))[-1]
    path = tmp_path / "run.duckdb"
    assert await from_log(log, path) == last
    assert _files(tmp_path) == ["run.duckdb"]
    with duckdb.connect(str(path), read_only=True) as other:
        assert other.execute("SELECT server_name FROM vms ORDER BY 1").fetchall()[0] == ("client-1",)
        comments = other.execute("SELECT comment FROM duckdb_views() WHERE view_name = 'vms'").fetchall()
        assert comments == [("The VMs of the current run, now",)]
    with pytest.raises(InvalidInputError, match="is there already"):
        await from_log(log, path)


def test_from_the_file(tmp_path: Path) -> None:
    """When nothing runs, what is on disk is copied whole, and left as it is."""
    projector = Projector(tmp_path / "sql.duckdb")
    projector.apply(recorded_run())
    wanted = contents(projector.reader())
    projector.close()
    path = tmp_path / "copy" / "run.duckdb"
    with pytest.raises(InvalidInputError, match="there is no folder"):
        from_file(tmp_path / "sql.duckdb", path)
    path.parent.mkdir()
    assert from_file(tmp_path / "sql.duckdb", path) == len(recorded_run())
    with duckdb.connect(str(path)) as other:
        other.execute("SET TimeZone = 'UTC'")
        assert contents(other) == wanted
    assert _files(tmp_path) == ["sql.duckdb"]


async def test_a_server_that_goes_away_is_not_the_files_fault(
    log: AsyncLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the log's, and nothing is left of the file."""
    await log.publish_many(recorded_bodies())

    async def away() -> tuple[int, int]:
        raise LogUnavailableError("the server is away")

    monkeypatch.setattr(log, "beginning", away)
    monkeypatch.setattr(log, "last_sequence", away)
    with pytest.raises(LogUnavailableError, match="is away"):
        await from_log(log, tmp_path / "run.duckdb")
    assert _files(tmp_path) == []
