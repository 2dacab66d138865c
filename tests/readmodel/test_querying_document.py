"""docs/querying.md does what it says: its commands, statements and files work on the recorded run."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.readmodel.recorded_run import recorded_run
from vmr import asking
from vmr.answers import Select, read
from vmr.as_of import sequence_of
from vmr.cli.ask import parse_parameters
from vmr.cli.shell.commands import COMMANDS as COMMANDS_OF_THE_SHELL
from vmr.cli.sql import parse_values
from vmr.projections import bind, parse_query
from vmr.projector import Projector

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "querying.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(re.sub(r" > \S+\.csv$", "", line))[1:] for line in re.findall(r"^    (vmr .*)$", TEXT, re.MULTILINE)
]
MOMENTS = sorted(set(re.findall(r"^    vmr .*--as-of (\S+)", TEXT, re.MULTILINE)))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection to a read model of the recorded run."""
    projector = Projector()
    projector.apply(recorded_run())
    yield projector.reader()
    projector.close()


def _without_options(words: list[str]) -> list[str]:
    kept = [word for word in words if word not in {"--json", "--csv"}]
    for option in ("--as-of", "-p", "-p"):
        if option in kept:
            place = kept.index(option)
            del kept[place : place + 2]
    return kept


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands(connection: duckdb.DuckDBPyConnection, words: list[str]) -> None:
    """Each statement and each question can be asked as written."""
    command, *rest = _without_options(words)
    if not rest:
        assert command == "sql", "only the shell needs no more"
        return
    name, *rest = rest
    values = parse_values([value for option, value in itertools.pairwise(words) if option == "-p"])
    if name == "--snapshot":
        assert (command, rest) == ("sql", ["run.duckdb"])
    elif command == "sql":
        answer = asking.answer(connection, "sql", {"sql": name, "values": values})
        assert answer.columns
        assert answer.rows or not values
    elif command == "ask":
        params = parse_parameters(asking.find(name), rest)
        assert asking.answer(connection, name, params).rows
    else:
        assert (command, name) == ("vm", "list")


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments(connection: duckdb.DuckDBPyConnection, moment: str) -> None:
    """Each moment of the examples is one."""
    assert sequence_of(connection, moment) > 0


def test_own_question(connection: duckdb.DuckDBPyConnection) -> None:
    """The file that is shown as an example is a question."""
    (text,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    query = parse_query(text, "wrote_much", "docs/querying.md")
    assert read(connection, Select(query.sql), bind(query, {"bytes": -1})).rows


def test_python_is_python() -> None:
    """The examples compile, and ask what can be asked."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        compile(block, "docs/querying.md", "exec")
        for name in re.findall(r"\.query\(\"(\w+)\"", block):
            assert name in {asking.SQL, *asking.named()}


def test_the_shells_commands(connection: duckdb.DuckDBPyConnection) -> None:
    """The table has every command of the shell, and no other; and the statement that is shown gives what is shown."""
    table = TEXT.partition("| command | does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\.[a-z-]+)", table)) == COMMANDS_OF_THE_SHELL.keys()
    (typed,) = re.findall(r"^vmr> (.*?);$", TEXT, re.MULTILINE | re.DOTALL)
    rows = asking.answer(connection, "sql", {"sql": typed.replace("... ", "")}).rows
    assert all(f"│ {name:<11} │ {state:<10} │" in TEXT for name, state in rows)
