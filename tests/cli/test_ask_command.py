"""``vmr ask``: questions by name, over a real SQL service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.readmodel.recorded_run import recorded_bodies
from vmr.cli import main
from vmr.cli.ask import parse_parameters
from vmr.errors import InvalidInputError
from vmr.log import Log
from vmr.projections import load_questions
from vmr.settings import Settings


def test_the_tutorials_question(served_log: Log, vmr: Callable[..., str]) -> None:
    """A name and a parameter, in each of the formats."""
    served_log.publish_many(recorded_bodies())
    words = ("ask", "fetch_times", "--entry", "fetch")
    assert [json.loads(line)["seconds"] for line in vmr(*words, "--json").splitlines()] == [1.95, 2.88]
    assert vmr(*words, "--csv").splitlines()[0] == "server_name,entry,attempt,seconds"
    assert "│ client-2" in vmr("ask", "slowest_entries", "--limit=3")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name, every question with its sentence, without any server."""
    assert main(["ask"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in load_questions())
    assert "Who held the barrier" in listed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", "fetch_time"], "did you mean 'fetch_times'"),
        (["ask", "fetch_times", "--colour", "red"], "there are: --field, --entry"),
        (["ask", "fetch_times", "red"], "no parameter"),
        (["ask", "slowest_entries", "--limit"], "a value is missing; at most so many"),
        (["ask", "slowest_entries", "--limit=1", "--limit=2"], "given twice"),
    ],
)
def test_wrong_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What was asked wrongly is said before anybody is asked, with exit code 2."""
    assert main(words) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_values_may_look_like_options() -> None:
    """A value is the next word, whatever it is; dashes in a parameter's name are as good as underscores."""
    query = load_questions()["output_between"]
    assert parse_parameters(query, ["--server-name", "--x"]) == {"server_name": "--x"}
    with pytest.raises(InvalidInputError):
        parse_parameters(query, ["server_name", "x"])


def test_as_of(served_log: Log, vmr: Callable[..., str], served: Settings) -> None:
    """SQL, questions and the list of VMs, as they were when the run had two VMs."""
    before = served_log.last_sequence()
    served_log.publish_many(recorded_bodies()[6:])
    moment = ("--as-of", str(before + 3))
    assert vmr("sql", "SELECT server_name FROM vms ORDER BY 1", "--csv", *moment).split() == [
        "server_name",
        "client-1",
        "server",
    ]
    assert [json.loads(line)["name"] for line in vmr("vm", "list", "--json", *moment).splitlines()] == [
        "server",
        "client-1",
    ]
    assert f"VMs as of {before + 3}" in vmr("vm", "list", *moment)
    assert vmr("ask", "fetch_times", "--json", *moment) == ""
    assert main(["--home", str(served.home), "--db", served.db, "vm", "list", "--as-of", "tomorrow"]) == 2


def test_parquet(served_log: Log, vmr: Callable[..., str], tmp_path: Path) -> None:
    """The rows go to a file, with their types, and to nowhere else."""
    served_log.add_vm("u-1", "a")
    path = tmp_path / "vms.parquet"
    assert vmr("sql", "SELECT server_name, added FROM vms", "--parquet", str(path)) == ""
    assert duckdb.execute("SELECT server_name, typeof(added) FROM read_parquet($1)", [str(path)]).fetchall() == [
        ("a", "TIMESTAMP WITH TIME ZONE")
    ]
    assert main(["ask", "still_running", "--json", "--parquet", str(path)]) == 2


def test_snapshot(served_log: Log, vmr: Callable[..., str], tmp_path: Path) -> None:
    """The whole read model as a file, beside the services that are running."""
    served_log.add_vm("u-1", "a")
    path = tmp_path / "all.duckdb"
    assert vmr("sql", "--snapshot", str(path)) == ""
    with duckdb.connect(str(path), read_only=True) as copy:
        assert copy.execute("SELECT server_name FROM vms").fetchall() == [("a",)]
    assert main(["sql"]) == 2
    assert main(["sql", "SELECT 1", "--snapshot", str(path)]) == 2
    assert main(["sql", "--csv", "--snapshot", str(path)]) == 2
