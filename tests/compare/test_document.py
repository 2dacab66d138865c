"""The examples of ``docs/comparing.md`` do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compare.stories import Story, program, read_model
from tests.readmodel.recorded_run import recorded_run
from vmr import contract
from vmr.cli import main
from vmr.projections import load_queries

TEXT = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with the records that the examples name."""
    for name, code in (("before", 0), ("after", 1)):
        story = Story(name)
        story.added("web", program(5, "serve"))
        story.started()
        story.ran("web", "5/serve", 5, 2.0, code)
        story.read_model(tmp_path / f"{name}.duckdb")
    read_model(tmp_path / "run.duckdb", recorded_run())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_python_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Every example in Python runs."""
    examples = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)
    for example in examples:
        exec(compile(example, "docs/comparing.md", "exec"), {})  # noqa: S102 - our own document
    said = capsys.readouterr().out
    assert len(examples) == 2
    assert "True [{'vm': 'web', 'entry': '5/serve'" in said
    assert "client-3 before it was added {" in said


def test_commands(folder: Path) -> None:
    """Every command on files runs."""
    commands = [line.split() for line in re.findall(r"^    vmr ((?:compare|blame) .*duckdb.*)$", TEXT, re.MULTILINE)]
    codes = [main([word.strip("'") for word in words]) for words in commands]
    assert codes == [1, 1, 0]
    assert (folder / "difference.html").is_file()


def test_every_kind_of_time_is_explained() -> None:
    """The table of what time goes into has every kind, and no other."""
    explained = re.findall(r"^\| ([a-z][^|]*?) \|", TEXT.partition("counts once")[2], re.MULTILINE)
    titles = re.findall(r"\(\d+, '[a-z_]+', '([^']+)'\)", load_queries(contract.projections() / "blame")["kinds"].sql)
    assert sorted(explained) == sorted(titles)
