"""``vmr sql`` over a real SQL service."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vmr.cli import main
from vmr.log import Log, connect, connect_async
from vmr.projector import open_projector
from vmr.settings import Settings
from vmr.sql_service import READ_MODEL


def test_answers_reflect_the_last_event(served_log: Log, vmr: Callable[..., str]) -> None:
    """What is in the log when the question is asked is in the answer."""
    served_log.add_vm("u-1", "größe", state="configured")
    statement = "SELECT server_name, state FROM vms ORDER BY server_name"
    assert json.loads(vmr("sql", statement, "--json")) == {"server_name": "größe", "state": "configured"}
    served_log.add_vm("u-2", "another")
    rows = list(csv.reader(io.StringIO(vmr("sql", statement, "--csv"))))
    assert rows == [["server_name", "state"], ["another", "uninitialized"], ["größe", "configured"]]
    assert "│ another" in vmr("sql", statement)


def test_question_from_standard_input(
    served_log: Log, vmr: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash reads the statement, for long ones."""
    served_log.add_vm("u-1", "a")
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT count(*) AS vms\nFROM vms\n"))
    assert json.loads(vmr("sql", "-", "--json")) == {"vms": 1}


def test_wrong_sql_is_wrong_input(served: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """The database's own words, and exit code 2."""
    assert main(["--home", str(served.home), "--db", served.db, "sql", "SELECT nothing FROM nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_question_that_nobody_answers(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the service the command says what to start."""
    connect(settings=settings).close()
    assert main(["--home", str(settings.home), "--db", settings.db, "sql", "SELECT 1"]) == 1
    assert "vmr up" in capsys.readouterr().err


async def _read_model_on_disk(settings: Settings) -> None:
    """Fold a database into its SQL read model and let go of it, as an orderly `vmr down` leaves it."""
    async with connect_async(settings=settings) as log:
        projector = await open_projector(log, settings.database_dir / READ_MODEL)
        async for batch in log.read():
            projector.apply(batch)
        projector.close()


def test_record_is_answered_without_a_server(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the embedded server is down, the read model on disk answers, and says up to where."""
    with connect(settings=settings) as log:
        log.add_vm("u-1", "kept")
    asyncio.run(_read_model_on_disk(settings))
    alone = Settings(home=tmp_path, db=settings.db)
    alone.database_dir.mkdir(parents=True)
    shutil.copy(settings.database_dir / READ_MODEL, alone.database_dir / READ_MODEL)
    capsys.readouterr()
    assert main(["--home", str(alone.home), "--db", alone.db, "sql", "SELECT server_name FROM vms", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"server_name": "kept"}
    assert "up to sequence 1" in printed.err
    assert main(["--home", str(alone.home), "--db", alone.db, "sql", "DROP TABLE vm"]) == 2


def test_no_server_and_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing was ever recorded, the command says what to start."""
    assert main(["--home", str(tmp_path), "sql", "SELECT 1"]) == 1
    assert "vmr up" in capsys.readouterr().err
