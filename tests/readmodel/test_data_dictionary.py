"""The data dictionary, held against the database that it describes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vmr.projections import load_questions
from vmr.projector import Projector

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = [sys.executable, str(ROOT / "ops" / "generate_data_dictionary.py")]
PAGE = (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8")


def test_page_is_up_to_date() -> None:
    """A changed projection needs the page to be written again."""
    result = subprocess.run([*GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_everything_in_the_database_is_on_the_page(projector: Projector) -> None:
    """Every table, view and column that people can see has its line, with a comment."""
    rows = (
        projector.reader()
        .execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns()"
            " WHERE NOT internal AND database_name = current_database() ORDER BY table_name, column_index"
        )
        .fetchall()
    )
    assert len(rows) > 200
    sections = {part.split("\n", 1)[0]: part for part in PAGE.split("\n### ")}
    for table, column, comment in rows:
        assert comment, (table, column)
        assert f"| `{column}` |" in sections[table], (table, column)


def test_questions_are_on_the_page() -> None:
    """What can be asked by name is listed."""
    for name in load_questions():
        assert f"| `{name}` |" in PAGE
