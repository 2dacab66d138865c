"""The shell on a real pseudo-terminal: editing, completion, history, paging, Ctrl-C and Ctrl-D."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shell.terminal import CTRL_C, CTRL_D, PROMPT, TAB, Terminal, command_line

pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning")
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE hash(a.range, b.range) % 7 = 1"
Start = Callable[..., Terminal]


@pytest.fixture(scope="module")
def shared(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Yield a shell that tests share, whose pager writes ``paged:`` before every line; each leaves it at its prompt."""
    state = str(tmp_path_factory.mktemp("state"))
    started = Terminal(command_line(home, "sql"), XDG_STATE_HOME=state, PAGER="sed s/^/paged:/")
    assert "no server runs" in started.until(PROMPT)
    yield started
    started.close()


def test_statements_of_several_lines_and_mistakes(shared: Terminal) -> None:
    """Enter goes on until the semicolon; a mistake is a line, and the next statement is answered."""
    shared.enter("SELECT server_name")
    shared.until(r"\.\.\.")
    shared.enter("FROM vms ORDER BY 1 LIMIT 1;")
    assert "│ client-1" in shared.until("1 row; ")
    shared.enter("SELEC 1;")
    shared.until("syntax error")
    shared.until(PROMPT)


def test_ctrl_c_stops_the_statement_and_not_the_shell(shared: Terminal) -> None:
    """While a statement runs, its time and how far it is are shown; Ctrl-C ends it at once. At the prompt it takes back the line."""
    shared.enter(f"{ENDLESS};")
    shared.until(r"\d\.\d s(, \d+%)?; Ctrl-C stops it")
    shared.type(CTRL_C)
    shared.until("stopped")
    shared.until(PROMPT)
    shared.type("SELECT nonsense")
    shared.until("nonsense")
    shared.type(CTRL_C)
    shared.until(PROMPT)
    shared.enter("SELECT 'still ' || 'here' AS x;")
    shared.until("still here")
    shared.until(PROMPT)


def test_tab_completes(shared: Terminal) -> None:
    """What fits is shown with its comment while somebody types; Tab takes it."""
    shared.type("DESCRIBE not_re")
    shared.until("barrier of the current run still waits for")
    shared.type(TAB)
    shared.enter(";")
    assert "server_name" in shared.until("rows; ")
    shared.until(PROMPT)


def test_long_and_wide_results_go_through_the_pager(shared: Terminal) -> None:
    """What does not fit goes to $PAGER, one line per row; what fits does not."""
    shared.enter("SELECT i FROM range(100) AS t(i);")
    assert shared.until("100 rows; ").count("paged:") == 104
    shared.enter("SELECT repeat('wide ', 100) AS w;")
    assert shared.until("1 row; ").count("paged:") == 5
    shared.enter("SELECT 1;")
    assert "paged:" not in shared.until("1 row; ")
    shared.until(PROMPT)


def test_what_a_guest_wrote_does_not_reach_the_terminal(shared: Terminal) -> None:
    """Escape sequences in values are shown, not obeyed, in every format."""
    for form in ("csv", "json", "table"):
        shared.enter(f".format {form}")
        shared.until("format: ")
        shared.enter("SELECT chr(27) || ']0;owned' || chr(7) AS title;")
        shown = shared.raw("1 row; ")
        assert "owned" in shown
        assert "\x1b]0;" not in shown
    shared.until(PROMPT)


def test_history_lasts_and_is_private(terminal: Start, tmp_path: Path) -> None:
    """What was typed is there in the next session, in a file that only its owner reads."""
    first = terminal("sql")
    first.until(PROMPT)
    first.enter("SELECT 40 + 2 AS answer;")
    first.until("1 row; ")
    first.until(PROMPT)
    first.type(CTRL_D)
    first.ended()
    file = tmp_path / "vmr" / "sql_history"
    assert file.stat().st_mode & 0o777 == 0o600
    second = terminal("sql")
    second.until(PROMPT)
    second.type("\x1b[A")
    second.until("answer")
    second.type("\r")
    second.until("1 row; ")
    second.type(CTRL_D)
    assert second.ended() == 0


def test_a_history_that_cannot_be_written(terminal: Start, tmp_path: Path) -> None:
    """The shell works without one, and says so."""
    (tmp_path / "vmr").write_text("in the way")
    shell = terminal("sql")
    assert "will not be remembered" in shell.until(PROMPT)
    shell.type(CTRL_D)
    assert shell.ended() == 0


def test_without_a_pager_lines_are_folded(terminal: Start) -> None:
    """An empty $PAGER wants none: the table is made to fit."""
    shell = terminal("sql", PAGER="")
    shell.until(PROMPT)
    shell.enter("SELECT repeat('wide ', 100) AS w;")
    shown = shell.until("1 row; ")
    assert shown.count("wide") >= 100
    assert max(len(line) for line in shown.splitlines() if "│" in line) <= 120
    shell.type(CTRL_D)
    shell.ended()


def test_a_pager_that_is_left_early(terminal: Start) -> None:
    """Who leaves the pager before the end is back at the prompt."""
    shell = terminal("sql", PAGER="head -n 3")
    shell.until(PROMPT)
    shell.enter("SELECT i FROM range(50000) AS t(i);")
    shell.until("50,000 rows; ")
    shell.type(CTRL_D)
    assert shell.ended() == 0


def test_ctrl_c_ends_a_command(terminal: Start) -> None:
    """`vmr sql` with a statement, and `vmr ask`, stop at once and say with their exit code that they were interrupted."""
    command = terminal("sql", ENDLESS)
    command.until("Ctrl-C stops it")
    command.type(CTRL_C)
    assert command.ended() == 130
