"""Where statements end."""

from __future__ import annotations

import pytest

from vmr.cli.shell.statements import in_quotes, is_complete, split


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1; SELECT 2;\nSELECT", ["SELECT 1", " SELECT 2"], "\nSELECT"),
        ("SELECT ';' || \";\" -- ;\n;", ["SELECT ';' || \";\" -- ;\n"], ""),
        ("SELECT 'it''s;'; ", ["SELECT 'it''s;'"], " "),
        (r"SELECT e'\';';", [r"SELECT e'\';'"], ""),
        ("SELECT $$;$$, $a$ $$; $a$, $vm; /* ; */ ;", ["SELECT $$;$$, $a$ $$; $a$, $vm"], ""),
        (";;", [], ""),
        ("SELECT 'a;", [], "SELECT 'a;"),
    ],
)
def test_statements_end_at_semicolons_that_are_none_of_a_text(text: str, statements: list[str], rest: str) -> None:
    """Semicolons in strings, names, dollar quotes and comments are a part of the statement."""
    assert split(text) == (statements, rest)


@pytest.mark.parametrize(
    "text", ["", "  ", "SELECT 1;", "SELECT 1; -- done", ".tables", "\\d vms", "quit", "exit;", "SELECT\n1\n;\n"]
)
def test_complete(text: str) -> None:
    """Commands, nothing, and statements that have ended are executed by Enter."""
    assert is_complete(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT ';",
        "SELECT 1; /* ",
        "SELECT $$;",
        'SELECT ";',
        "-- x;",
        "SELECT e'\\';",
    ],
)
def test_incomplete(text: str) -> None:
    """After everything else Enter begins a new line."""
    assert not is_complete(text)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("SELECT 'a", True),
        ("SELECT 'a'", False),
        ("SELECT 'a''", True),
        ("SELECT '", True),
        ("SELECT ''", False),
        ('SELECT "a', True),
        ("SELECT -- a", True),
        ("SELECT -- a\n", False),
        ("SELECT /* a", True),
        ("SELECT /* a */ ", False),
        ("SELECT $$ a", True),
        ("SELECT $$ a $$", False),
    ],
)
def test_inside_of_quotes(text: str, *, inside: bool) -> None:
    """Whether the cursor is in a string, a quoted name or a comment."""
    assert in_quotes(text) == inside
