"""What is offered while somebody types."""

from __future__ import annotations

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from vmr.cli.shell.catalog import load_catalog
from vmr.cli.shell.completion import SqlCompleter
from vmr.offline import OfflineReader


@pytest.fixture
def completer(offline: OfflineReader) -> SqlCompleter:
    """Return a completer for the recorded run."""
    return SqlCompleter(load_catalog(offline))


def _offered(completer: SqlCompleter, text: str, *, tab: bool = True) -> list[str]:
    """Return what is offered at the ``|`` in ``text``."""
    before, _, after = text.partition("|")
    document = Document(before + after, len(before))
    return [one.text for one in completer.get_completions(document, CompleteEvent(completion_requested=tab))]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT server_n| FROM vms", ["server_name"]),
        ("SELECT lat|e FROM attempts", ["lateness"]),
        ("SELECT * FROM att|", ["attempts", "attempt"]),
        ("SELECT * FROM vms JOIN att|", ["attempts", "attempt"]),
        ("SELECT * FROM vms AS v, attem|", ["attempts", "attempt"]),
        ("SELECT a.late| FROM attempts AS a", ["lateness"]),
        ("SELECT attempts.late| FROM attempts", ["lateness"]),
        ("SELECT count(*) FROM vms WHERE stat|", ["state", "state_since"]),
        ("DESCRIBE not_r|", ["not_ready"]),
        (".sch|", [".schema"]),
        (".schema not_r|", ["not_ready"]),
        (".ask slowest|", ["slowest_entries"]),
        (".ask slowest_entries li|", ["limit="]),
        (".format j|", ["json"]),
        (".as-of n|", ["now"]),
    ],
)
def test_offered(completer: SqlCompleter, text: str, wanted: list[str]) -> None:
    """Columns of the statement's tables, tables after FROM, commands and names of questions."""
    offered = _offered(completer, text)
    assert offered[: len(wanted)] == wanted


def test_columns_of_other_tables_are_not_offered(completer: SqlCompleter) -> None:
    """When the statement names its table, columns of others are left out; before that, any column is offered."""
    assert "exit_code" not in _offered(completer, "SELECT exit| FROM vms")
    assert "exit_code" in _offered(completer, "SELECT exit|")


def test_functions_and_keywords(completer: SqlCompleter) -> None:
    """Functions with their bracket; keywords in the case in which somebody types."""
    assert "date_trunc(" in _offered(completer, "SELECT date_tr|")
    assert "WHERE" in _offered(completer, "SELECT 1 FROM vms WHER|")
    assert "where" in _offered(completer, "SELECT 1 FROM vms wher|")


@pytest.mark.parametrize(
    "text", ["SELECT 'serv|", "SELECT 1 -- serv|", 'SELECT "serv|', "SELECT vms.|x FROM nowhere.|"]
)
def test_nothing_in_strings_and_comments(completer: SqlCompleter, text: str) -> None:
    """Where names mean nothing, none is offered."""
    assert _offered(completer, text.replace("|x", "x")) == []


def test_nothing_is_offered_unasked_before_a_letter(completer: SqlCompleter) -> None:
    """A menu with everything opens by Tab, and not by itself."""
    assert _offered(completer, "SELECT |", tab=False) == []
    assert "server_name" in _offered(completer, "SELECT | FROM vms", tab=True)
