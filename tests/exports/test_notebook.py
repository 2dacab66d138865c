"""The notebook of the documentation: it runs, and shows what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exports import notebook
from vmr.query import Answer


def test_notebook_gives_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs, without a server, and gives what stands below it; then `python -m tests.exports.notebook` makes it so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("VMR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    assert notebook.outputs(notebook.executed()) == notebook.outputs(notebook.read())
    assert not (tmp_path / "home").exists()


def test_tutorials_question_is_answered_in_ten_lines() -> None:
    """The first cell that computes is at most ten lines, and what stands below it names each client with its seconds."""
    first = next(cell for cell in notebook.read().cells if cell.cell_type == "code")
    assert len(first.source.splitlines()) <= 10
    printed = first.outputs[0].text.splitlines()
    assert [line.split()[0] for line in printed] == ["client-1", "client-2", "client-3"]
    seconds = [float(line.split()[1]) for line in printed]
    assert seconds == sorted(seconds)


def test_answer_is_a_table_in_a_notebook() -> None:
    """What guests wrote is shown as text, whatever it is; of many rows the first are shown, and how many more there are."""
    rows = [("<script>alert(1)</script>\x1b[2J\u202e", None)] + [(number, 0.5) for number in range(150)]
    shown = Answer(sequence=1, columns=("a<b", "c"), rows=rows)._repr_html_()
    assert "<th>a&lt;b</th><th>c</th>" in shown
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e</td><td></td>" in shown
    assert shown.count("<tr>") == 101
    assert shown.endswith("<p>51 more rows</p>")
