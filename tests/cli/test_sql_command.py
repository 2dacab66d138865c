"""``vmr sql`` over a real SQL service."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import ipc  # type: ignore[import-untyped]  # it has no types

from tests.shell.terminal import CTRL_C, CTRL_D, PROMPT, Terminal
from vmr.cli import main
from vmr.log import Log, connect, connect_async
from vmr.projector import open_projector
from vmr.settings import Settings
from vmr.sql_service import READ_MODEL

ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range * b.range % 7 = 8"


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


def test_values_of_parameters(served_log: Log, vmr: Callable[..., str]) -> None:
    """Each is what JSON makes of it, when that is a scalar, and text otherwise; the leading $ may be written."""
    served_log.add_vm("u-1", "web-1")
    statement = "SELECT count(*) AS n FROM vms WHERE server_name = $vm"
    assert json.loads(vmr("sql", statement, "-p", "vm=web-1", "--json")) == {"n": 1}
    assert json.loads(vmr("sql", statement, "-p", "$vm=web-2", "--json")) == {"n": 0}
    words = [
        word for text in ("a=1", "b=1.5", "c=true", "d=null", 'e="1"', "f=[1]", "g=", "h=x=y") for word in ("-p", text)
    ]
    statement = "SELECT $a AS a, $b AS b, $c AS c, $d AS d, $e AS e, $f AS f, $g AS g, $h AS h"
    assert list(json.loads(vmr("sql", statement, *words, "--json")).values()) == [
        *(1, 1.5, True, None, "1", "[1]", "", "x=y")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SELECT $vm"], "no value for the parameter $vm; the statement's parameters are: $vm"),
        (["SELECT $vm", "-p", "vm=a", "-p", "wm=b"], "no parameter $wm in the statement; its parameters are: $vm"),
        (["SELECT 1", "-p", "vm=a"], "no parameter $vm in the statement; its parameters are: none"),
        (["SELECT $vm", "-p", "vm"], "-p vm: give NAME=VALUE"),
        (["SELECT $vm", "-p", "vm=1", "-p", "vm=2"], "-p vm is given twice"),
        (["--shell", "-p", "vm=1"], "a shell takes no parameters"),
        (["SELECT 1", "--shell"], "one of them"),
        (["SELECT 1", "--arrow", "x", "--json"], "give one"),
        (
            [ENDLESS, "--timeout", "0.2"],
            "than 0.2 s",
        ),
    ],
)
def test_wrong_parameters(served: Settings, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    """One line that names the parameter and what there is, and exit code 2."""
    assert main(["--home", str(served.home), "--db", served.db, "sql", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_arrow(
    served_log: Log, vmr: Callable[..., str], vmr_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    """To a file, and as a stream to standard output with nothing else in it."""
    served_log.add_vm("u-1", "a")
    path = tmp_path / "vms.arrow"
    assert vmr("sql", "SELECT server_name, added FROM vms", "--arrow", str(path)) == ""
    with ipc.open_file(path) as file:
        assert file.read_all().column("server_name").to_pylist() == ["a"]
    words = vmr_arguments("ask", "vms", "--arrow", "-")
    stream = subprocess.run(words, check=True, capture_output=True, timeout=60).stdout
    assert ipc.open_stream(stream).read_all().column("server_name").to_pylist() == ["a"]


def test_statements_from_a_pipe(served_log: Log, vmr_arguments: Callable[..., list[str]]) -> None:
    """`--shell` without a terminal executes one statement after another, and its exit code says whether all could be done."""
    served_log.add_vm("u-1", "a")
    words = vmr_arguments("sql", "--shell", "--csv")
    for typed, code in (("SELECT server_name FROM vms; SELECT 2 AS two;", 0), ("SELEC;\nSELECT 2 AS two;", 2)):
        done = subprocess.run(words, input=typed, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code
        assert done.stdout.endswith("two\n2\n")


@pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning")
def test_the_shell_asks_the_services(served_log: Log, vmr_arguments: Callable[..., list[str]], tmp_path: Path) -> None:
    """Each statement sees what is in the log by then; Ctrl-C makes the service stop, and the next one is answered at once."""
    terminal = Terminal(vmr_arguments("sql"), XDG_STATE_HOME=str(tmp_path))
    try:
        terminal.until(PROMPT)
        for number in range(1, 3):
            served_log.add_vm(f"u-{number}", f"vm-{number}")
            terminal.enter("SELECT 'there are ' || count(*) AS x FROM vms;")
            terminal.until(f"there are {number}")
        for _ in range(3):
            terminal.enter(f"{ENDLESS};")
            terminal.until("Ctrl-C stops it")
            terminal.type(CTRL_C)
            terminal.until("stopped")
        begun = time.monotonic()
        assert served_log.query("sql", {"sql": "SELECT 1"}).rows == [(1,)]
        assert time.monotonic() - begun < 2
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    finally:
        terminal.close()
