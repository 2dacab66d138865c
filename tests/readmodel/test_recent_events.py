"""Events that come one by one lie beside the others for a while, and are told from them by nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.readmodel.histories import record
from tests.readmodel.recorded_run import recorded_run
from tests.readmodel.tables import contents
from vmr import asking, events, recent_events
from vmr.events import KnownBody, Unknown
from vmr.projections import load_queries
from vmr.projector import Projector
from vmr.recent_events import SETTLED

HISTORY = recorded_run()
BY_HAND = "recent_events"


@pytest.fixture(scope="module")
def plain() -> Iterator[Projector]:
    """Yield a projector of the recorded run that has folded it at once."""
    projector = Projector()
    projector.apply(HISTORY)
    yield projector
    projector.close()


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Projector]:
    """Yield one that has folded it one by one."""
    projector = _prompt(tmp_path_factory.mktemp("prompt") / "live.duckdb")
    yield projector
    projector.close()


def _prompt(path: Path, at_once: int = 1) -> Projector:
    """Return a projector that has folded the recorded run, so many events at once."""
    projector = Projector(path, threads=1, prompt=True)
    for first in range(0, len(HISTORY), at_once):
        projector.apply(HISTORY[first : first + at_once])
    return projector


def _count(projector: Projector, table: str) -> int:
    return int(projector.reader().execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])  # noqa: S608 - a name


def _described(projector: Projector) -> list[Any]:
    return [row[:2] for row in projector.reader().execute("DESCRIBE events").fetchall()]


def test_they_are_rows_of_events(plain: Projector, prompt: Projector) -> None:
    """The same rows in the same columns, of the same types, in the order of the log."""
    assert _count(prompt, BY_HAND) == len(HISTORY)
    assert _described(prompt) == _described(plain)
    everything = "SELECT COLUMNS(*)::VARCHAR FROM events"
    assert prompt.reader().execute(everything).fetchall() == plain.reader().execute(everything).fetchall()


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_every_query_has_the_same_answer(plain: Projector, prompt: Projector, name: str) -> None:
    """Whether the events have come one by one or at once."""
    assert asking.answer(prompt.reader(), name, {}) == asking.answer(plain.reader(), name, {})


def test_they_are_moved_when_there_are_many(monkeypatch: pytest.MonkeyPatch, plain: Projector, tmp_path: Path) -> None:
    """The table of the others gets them then, and nobody sees a difference."""
    monkeypatch.setattr(recent_events, "_MOST", 20)
    prompt = _prompt(tmp_path / "live.duckdb")
    assert _count(prompt, SETTLED) == len(HISTORY) // 20 * 20
    assert _count(prompt, BY_HAND) == len(HISTORY) % 20
    assert contents(prompt.reader()) == contents(plain.reader())
    prompt.close()


def test_large_ones_are_moved_before_there_are_many(tmp_path: Path) -> None:
    """They would take all the memory of a read model: a megabyte each when output is of control characters."""
    prompt = Projector(tmp_path / "live.duckdb", threads=1, prompt=True)
    most, text = 0, "\x01" * 131_072
    for sequence in range(1, 61):
        piece = events.OutputCaptured(
            server_uuid="a", entry="1/x", attempt=1, stream="stdout", offset=0, size=len(text), text=text
        )
        prompt.apply(record([piece], sequence))
        most = max(most, _count(prompt, BY_HAND))
    assert 0 < most < 10
    assert _count(prompt, "events") == 60
    prompt.close()


def test_they_stay_before_what_comes_after_them(plain: Projector, tmp_path: Path) -> None:
    """A large batch goes into the table by itself, and what was recent goes there first."""
    prompt = Projector(tmp_path / "live.duckdb", threads=1, prompt=True)
    for event in HISTORY[:5]:
        prompt.apply([event])
    prompt.apply(HISTORY[5:-1])
    prompt.apply(HISTORY[-1:])
    assert _count(prompt, BY_HAND) == 1
    sequences = prompt.reader().execute(f"SELECT seq FROM {SETTLED}").fetchall()  # noqa: S608
    assert sequences == [(event.sequence,) for event in HISTORY[:-1]]
    assert contents(prompt.reader()) == contents(plain.reader())
    prompt.close()


def test_a_closed_read_model_is_like_any_other(plain: Projector, tmp_path: Path) -> None:
    """It has one table of events, with its comments, and whoever opens it next goes on with it."""
    _prompt(tmp_path / "live.duckdb").close()
    with duckdb.connect(str(tmp_path / "live.duckdb"), read_only=True) as closed:
        tables = {name for (name,) in closed.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert "events" in tables
    assert tables.isdisjoint({SETTLED, BY_HAND})
    again = Projector(tmp_path / "live.duckdb")
    comments = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
    assert again.reader().execute(comments).fetchall() == plain.reader().execute(comments).fetchall()
    assert contents(again.reader()) == contents(plain.reader())
    again.close()


@pytest.mark.parametrize("prompt", [False, True])
def test_what_a_crash_leaves_is_put_in_order(plain: Projector, tmp_path: Path, prompt: bool) -> None:  # noqa: FBT001
    """Nothing is lost of what lay beside the others when the process died, and more can come."""
    dying = _prompt(tmp_path / "live.duckdb")
    (tmp_path / "left").mkdir()
    for name in ("live.duckdb", "live.duckdb.wal"):
        shutil.copy(tmp_path / name, tmp_path / "left" / name)
    dying.close()
    again = Projector(tmp_path / "left" / "live.duckdb", threads=1, prompt=prompt)
    assert again.cursor == len(HISTORY)
    assert _count(again, SETTLED if prompt else "events") == len(HISTORY)
    assert contents(again.reader()) == contents(plain.reader())
    again.apply(record([events.VmRebooted(server_uuid="s", boot_id="b")], len(HISTORY) + 1))
    assert _count(again, "events") == len(HISTORY) + 1
    again.close()


@pytest.mark.parametrize("count", [1, 2, 16])
def test_a_few_at_once_are_recent_as_well(plain: Projector, tmp_path: Path, count: int) -> None:
    """Also ones of several types, of which each fills other columns."""
    prompt = _prompt(tmp_path / "live.duckdb", count)
    assert _count(prompt, SETTLED) == 0
    assert contents(prompt.reader()) == contents(plain.reader())
    prompt.close()


def test_a_batch_that_fails_leaves_everything(plain: Projector, tmp_path: Path) -> None:
    """It is as if it had not come, also where it has moved recent events; and the same events can come again."""
    prompt = Projector(tmp_path / "live.duckdb", threads=1, prompt=True)
    for event in HISTORY[:5]:
        prompt.apply([event])
    before = contents(prompt.reader())
    prompt._connection.execute("ALTER TABLE attempt RENAME TO hidden")
    for batch in (HISTORY[5:], HISTORY[5:]):
        with pytest.raises(Exception, match="attempt"):
            prompt.apply(batch)
    prompt._connection.execute("ALTER TABLE hidden RENAME TO attempt")
    assert contents(prompt.reader()) == before
    for event in HISTORY[5:]:
        prompt.apply([event])
    assert contents(prompt.reader()) == contents(plain.reader())
    prompt.close()


def test_any_text_is_kept(tmp_path: Path) -> None:
    """Whatever a name, a path or a body may hold that JSON, SQL or a terminal would take for something else."""
    odd = "\x00 \u2028 ' \" \\ {{}} $1 ? \U0001f600 \x1b[0m"
    bodies: list[KnownBody | Unknown] = [
        events.VmAdded(server_uuid=odd, server_name=odd),
        events.VmStateSet(server_uuid=odd, state=odd, reason=odd * 10_000),
        events.EntryFinished(
            server_uuid=odd, entry=odd, attempt=2**63 - 1, exit_code=-(2**63), duration=1e-308, stdout_size=2**70
        ),
        Unknown(type=odd, version=2**80, raw=b"\xff{not json"),
        Unknown(type="later", version=1, raw=b'{"a": 1.00, "a": 12345678901234567890123, "b": [[[]]]}'),
    ]
    prompt, plain = Projector(tmp_path / "live.duckdb", threads=1, prompt=True), Projector()
    plain.apply(record(bodies))
    for event in record(bodies):
        prompt.apply([event])
    assert contents(prompt.reader()) == contents(plain.reader())
    prompt.close()
    plain.close()
