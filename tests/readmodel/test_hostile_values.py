"""What a guest says, however odd, makes no question, report, comparison or export fail."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.readmodel.histories import BEGIN, record
from vmr import asking, events
from vmr.blame import blame
from vmr.comparison import compare
from vmr.exports import FORMATS
from vmr.exports.of_run import export
from vmr.projector import Projector
from vmr.report import write_report
from vmr.schedule import Entry, Pause

MOST = 2**63 - 1
NAME = 'a" \x00\x1b[31m</script>\u2028\U0001f600'
LINES = '{"time": "noon"}\n{"time": 1e999}\n[[[\n{"time": null, "time": {}}\n"\\ud800"\n' + "\x00" * 300 + "\n"
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def _bodies() -> list[events.KnownBody]:
    entry = Entry(id=f"1/{NAME}", start_time=1, executable=NAME, arguments=NAME)
    wait = Entry(id="2/wait", start_time=2, pause=Pause(1e308))
    bodies: list[events.KnownBody] = [
        events.ExperimentLaunched(launch_time=FIRST, name=NAME, start_buffer=1e308),
        events.VmAdded(server_uuid=NAME, server_name=NAME),
        events.SchedulePublished(server_name=NAME, entries=(entry, wait)),
        events.VmStateSet(server_uuid=NAME, state="configured", reason=NAME),
        events.ExperimentStarted(start_time=BEGIN),
        events.VmPaused(server_uuid=NAME, duration=1e308),
        events.VmTimeTicked(server_uuid=NAME, current_time="1e400"),
    ]
    for attempt, (due, duration) in enumerate([(LAST, 1e308), (FIRST, -1e308), (None, 1e18)], 1):
        bodies += [
            events.EntryStarted(
                server_uuid=NAME,
                entry=entry.id,
                attempt=attempt,
                name=NAME,
                start_time="1e400",
                due=due,
                directory=NAME,
            ),
            events.OutputCaptured(
                server_uuid=NAME,
                entry=entry.id,
                attempt=attempt,
                stream="stdout",
                offset=0,
                size=len(LINES),
                text=LINES,
            ),
            events.OutputCaptured(
                server_uuid=NAME,
                entry=entry.id,
                attempt=attempt,
                stream="stderr",
                offset=MOST - 2,
                size=2,
                data=b"\xff\xfe",
            ),
            events.EntryFinished(
                server_uuid=NAME,
                entry=entry.id,
                attempt=attempt,
                exit_code=2**70,
                duration=duration,
                stdout_size=MOST,
                stderr_size=2**65,
            ),
        ]
    return [*bodies, events.VmRebooted(server_uuid=NAME, boot_id=NAME), events.ExperimentEnded(reason=NAME)]


@pytest.fixture(scope="module", params=["at once", "one by one"])
def odd(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a read model of a run in which everything is as odd as its type allows."""
    path = tmp_path_factory.mktemp("odd") / "odd.duckdb"
    history, alone = record(_bodies()), request.param == "one by one"
    projector = Projector(path, prompt=alone)
    for event in history:
        projector.apply([event] if alone else history)
    projector.close()
    return path


@pytest.mark.parametrize("name", asking.named())
def test_everything_can_be_asked(odd: Path, name: str) -> None:
    """Every query and question has an answer."""
    projector = Projector(odd)
    try:
        asking.answer(projector.reader(), name, {})
    finally:
        projector.close()


def test_where_the_time_went(odd: Path) -> None:
    """The times are told, as far as they make sense."""
    assert blame(odd).vms


def test_it_is_compared(odd: Path, tmp_path: Path) -> None:
    """With itself it is alike."""
    other = tmp_path / "other.duckdb"
    shutil.copyfile(odd, other)
    assert not compare(("a", odd), ("b", other)).differs


def test_it_is_reported(odd: Path, tmp_path: Path) -> None:
    """The report is written."""
    assert write_report(odd, tmp_path / "report.html") > 0


@pytest.mark.parametrize("form", FORMATS)
def test_it_is_exported(odd: Path, tmp_path: Path, form: str) -> None:
    """Every export is written."""
    export(form, odd, tmp_path / f"export-{form}")
    assert (tmp_path / f"export-{form}").exists()
