"""``vmr export`` and ``vmr import cloudevents``, as people type them."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exports.run_files import fold
from tests.exports.timeline import Timeline
from tests.readmodel.recorded_run import recorded_bodies, recorded_run
from vmr.cli import main
from vmr.exports import FORMATS
from vmr.log import Log, connect
from vmr.settings import Settings
from vmr.sql_service import READ_MODEL


@pytest.fixture
def say(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return ``vmr`` for a database of the test's own: from words to exit code and what is on standard error."""

    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["--home", str(settings.home), "--db", settings.db, *map(str, words)])
        printed = capsys.readouterr()
        assert printed.out == ""
        return code, printed.err

    return call


@pytest.mark.parametrize("form", FORMATS)
def test_record_on_disk(say: Callable[..., tuple[int, str]], tmp_path: Path, form: str) -> None:
    """A file and the number of a run in it are enough, without any server; the second time needs --force."""
    fold(tmp_path / "record.duckdb", recorded_run())
    target = tmp_path / "out"
    code, said = say("export", form, f"{tmp_path}/record.duckdb#2", "-o", target)
    assert (code, said.endswith(f" in {target}\n")) == (0, True)
    code, said = say("export", form, f"{tmp_path}/record.duckdb#2", "-o", target)
    assert (code, said) == (2, f"{target} is there already; give another name, or --force to replace it\n")
    assert say("export", form, f"{tmp_path}/record.duckdb#2", "-o", target, "--force")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "record.duckdb"]


def test_every_format_is_documented() -> None:
    """The page about exports has a row and a command for each, and its Python is Python."""
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
    for form in FORMATS:
        assert f"| `{form}` |" in page
        assert f"vmr export {form} " in page
    assert all(ast.parse(text) for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL))


def test_wrong_words(say: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """What there is no format or run for is wrong input, in one line."""
    fold(tmp_path / "record.duckdb", recorded_run())
    code, said = say("export", "pdf", "-o", tmp_path / "out")
    assert (code, said) == (2, f"no format 'pdf'; there are: {', '.join(FORMATS)}\n")
    code, said = say("export", "perfetto", f"{tmp_path}/record.duckdb#7", "-o", tmp_path / "out")
    assert code == 2
    assert said.startswith("there is no run '7'")


def test_run_of_the_services(
    served: Settings, served_log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the services run, the current run is exported from the log as it is now."""
    served_log.publish_many(recorded_bodies())
    for form in ("perfetto", "cloudevents"):
        assert main(["--home", str(served.home), "--db", served.db, "export", form, "-o", str(tmp_path / form)]) == 0
    assert Timeline(tmp_path / "perfetto").of("client-1", "entries")
    sent = (tmp_path / "cloudevents").read_bytes().splitlines()
    assert f"{len(sent):,} events in" in capsys.readouterr().err
    served_log.clear()
    words = ["import", "cloudevents", str(tmp_path / "cloudevents"), "--db", "taken"]
    assert main(["--home", str(served.home), "--db", served.db, *words]) == 0
    assert f"{len(sent):,} events are in database taken" in capsys.readouterr().err
    with connect(settings=Settings(home=served.home, db="taken")) as copy:
        assert sum(len(batch) for batch in copy.read()) == len(sent)


def test_events_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When nothing runs, the events come from the record on disk."""
    settings = Settings(home=tmp_path / "home")
    settings.database_dir.mkdir(parents=True)
    shutil.copy(fold(tmp_path / "record.duckdb", recorded_run()), settings.database_dir / READ_MODEL)
    assert main(["--home", str(settings.home), "export", "cloudevents", "-o", str(tmp_path / "events")]) == 0
    assert "58 events in" in capsys.readouterr().err
    assert (
        main(["--home", str(settings.home), "export", "cloudevents", "rehearsal", "-o", str(tmp_path / "first")]) == 0
    )
    assert len((tmp_path / "first").read_bytes().splitlines()) == 5


def test_import_of_what_is_no_export(say: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """The line is named, and no database is made."""
    (tmp_path / "notes").write_text("buy milk\n")
    code, said = say("import", "cloudevents", tmp_path / "notes", "--db", "never")
    assert code == 2
    assert f"{tmp_path}/notes, line 1: not an event that vmr has exported" in said
    assert say("import", "cloudevents", tmp_path / "notes", "--db", "a b")[0] == 2
