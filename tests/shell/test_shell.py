"""The shell without a terminal: statements from a pipe, commands, errors, formats."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from vmr.cli.shell import run_shell
from vmr.cli.shell.interactive import Shell
from vmr.offline import OfflineReader

Typed = Callable[[str], tuple[str, str, bool]]


@pytest.fixture
def shell(offline: OfflineReader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return the shell as a function from what is typed to what it prints, what it says, and whether all could be done."""

    def run(typed: str) -> tuple[str, str, bool]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        done = run_shell(offline)
        printed = capsys.readouterr()
        return printed.out, printed.err, done

    return run


def test_statements_one_after_another(shell: Typed) -> None:
    """Statements may have several lines, or share one; the last may lack its semicolon. Each says rows, time and sequence."""
    out, err, done = shell("SELECT\n  count(*) AS first\nFROM vms; SELECT 7 AS second;\n\nSELECT 8 AS third")
    assert [name in out for name in ("first", "second", "third")] == [True] * 3
    assert "│     4 │" in out
    assert err.count("1 row; ") == 3
    assert err.count("as of sequence 63") == 3
    assert done


def test_errors_are_one_line_and_the_shell_goes_on(shell: Typed) -> None:
    """Wrong SQL, refused SQL, commands that there are not: one line each."""
    out, err, done = shell(
        "SELEC 1;\nDROP TABLE vm;\n.tabels\n.schema vm_s\n.ask slowest\n.ask slowest_entries x=1\n.ask x y\n.format xml\n"
        ".as-of tomorrow\n.ask 'x\nSELECT $vm;\nSELECT 9 AS nine;\n"
    )
    lines = err.splitlines()
    assert len(lines) == 12
    for line, part in zip(
        lines,
        [
            'syntax error at or near "SELEC"',
            "DROP is not allowed",
            "did you mean .tables?",
            "no table or view 'vm_s'; did you mean vms?",
            "did you mean",
            "no parameter 'x'; the parameters of slowest_entries are: limit",
            "y: give parameters as PARAMETER=VALUE",
            "there are table, json and csv",
            "no moment",
            "No closing quotation",
            "no value for the parameter $vm",
            "1 row",
        ],
        strict=True,
    ):
        assert part in line
    assert "nine" in out
    assert not done


def test_commands(shell: Typed) -> None:
    """Tables and columns come with their comments, questions with their sentences, and they can be asked."""
    out, _, done = shell(".tables\n.schema vms\n.questions barrier\n.ask slowest_entries limit=2\n")
    assert done
    for part in (
        "not_ready",
        "The VMs of the current run, now",
        "TIMESTAMP WITH TIME ZONE",
        "Who held the barrier",
        "server_name",
    ):
        assert part in out
    assert out.count("│ 20/long.sh") == 1


def test_help_names_every_command(shell: Typed) -> None:
    """`.help` says what there is and how to leave."""
    _, err, _ = shell(".help\n.quit\nSELECT 1 AS never;")
    for part in (".tables", ".schema", ".questions", ".ask", ".as-of", ".format", ".quit", "Ctrl-D"):
        assert part in err
    assert "never" not in err


def test_the_past(shell: Typed) -> None:
    """`.as-of` holds for SQL and questions until `.as-of now`; a moment that is none changes nothing."""
    out, err, _ = shell(
        ".format json\n.as-of 5\nSELECT count(*) AS n FROM events;\n.as-of nonsense\nSELECT count(*) AS n FROM events;\n"
        ".as-of now\nSELECT count(*) AS n FROM events;\n"
    )
    assert [json.loads(line)["n"] for line in out.splitlines()] == [5, 5, 63]
    assert "as of sequence 5" in err


def test_formats(shell: Typed) -> None:
    """JSON lines and CSV hold the whole values."""
    out, _, _ = shell(
        ".format json\nSELECT 'a' AS x, 1.5::DOUBLE AS y;\n.format csv\nSELECT 'b,c' AS x;\n.format table\nSELECT 1 AS z;"
    )
    lines = out.splitlines()
    assert json.loads(lines[0]) == {"x": "a", "y": 1.5}
    assert lines[1:3] == ["x", '"b,c"']
    assert "┃ z ┃" in out


def test_an_interrupt_ends_what_comes_from_a_pipe(offline: OfflineReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there to go on: what is left of the pipe is not executed."""
    shell = Shell(offline)
    texts = iter(["SELECT 1;", "SELECT 2;"])
    executed = []

    def execute(text: str) -> None:
        executed.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(shell, "execute", execute)
    with pytest.raises(KeyboardInterrupt):
        shell.run(lambda: next(texts))
    assert executed == ["SELECT 1;"]
