"""A run of the record as one file, wherever the record lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.readmodel.histories import BEGIN, record
from vmr import events
from vmr.errors import DataError, InvalidInputError
from vmr.projector import Projector
from vmr.record import connect, open_run
from vmr.settings import Settings

CLEARED = events.ExperimentCleared(scope=("vms", "schedules", "times"))


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    """Return a read model of two runs: one VM `a` in the first, one VM `b` in the second."""
    path = tmp_path / "record.duckdb"
    projector = Projector(path)
    bodies: list[events.KnownBody] = [
        events.VmAdded(server_uuid="1", server_name="a"),
        events.ExperimentLaunched(name="first", launch_time=BEGIN),
        CLEARED,
        events.VmAdded(server_uuid="2", server_name="b"),
        events.ExperimentLaunched(name="second", launch_time=BEGIN),
    ]
    projector.apply(record(bodies))
    projector.close()
    return path


@pytest.mark.parametrize(
    ("number", "run", "vm", "sequences"), [("", 2, "b", (3, 5)), ("#1", 1, "a", (1, 2)), ("#first", 1, "a", (1, 2))]
)
def test_a_run_of_a_file_is_the_only_one(
    two_runs: Path, tmp_path: Path, number: str, run: int, vm: str, sequences: tuple[int, int]
) -> None:
    """The file that is yielded holds that run's events, under their own sequences, and nothing of another run."""
    with open_run(f"{two_runs}{number}", Settings(home=tmp_path)) as path, connect(path) as connection:
        assert connection.execute("SELECT run, seq FROM log_cursor").fetchall() == [(run, sequences[1])]
        assert connection.execute("SELECT server_name FROM vms").fetchall() == [(vm,)]
        assert connection.execute("SELECT min(seq), max(seq) FROM events").fetchall() == [sequences]


def test_a_run_that_is_not_there_is_named(two_runs: Path, tmp_path: Path) -> None:
    """The message says which runs there are."""
    with (
        pytest.raises(InvalidInputError, match=r"no run '7'.*1 \(first\), 2 \(second\)"),
        open_run(f"{two_runs}#7", Settings(home=tmp_path)),
    ):
        pass


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    """A file of something else, and a file that is not there."""
    other = tmp_path / "text.duckdb"
    other.write_text("hello")
    with pytest.raises(DataError, match="no record of vmr"), open_run(str(other), Settings(home=tmp_path)):
        pass
    with (
        pytest.raises(InvalidInputError, match="no file"),
        open_run(str(tmp_path / "none.zip"), Settings(home=tmp_path)),
    ):
        pass
