"""The read model as of a moment: the same as if nothing had been recorded after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.histories import FAMILIES, histories
from tests.readmodel.recorded_run import START, moment, recorded_bodies, recorded_run
from tests.readmodel.test_sql_service import HOSTILE
from vmr import asking
from vmr.as_of import sequence_of
from vmr.errors import DataError, QueryError
from vmr.log import AsyncLog
from vmr.offline import open_offline
from vmr.past import Past
from vmr.projections import load_questions
from vmr.projector import Projector
from vmr.query import Answer

STATES = "SELECT server_name, state FROM vms ORDER BY server_name"


@dataclass
class Record:
    """A read model with its past, and a connection to ask on."""

    projector: Projector
    past: Past
    connection: duckdb.DuckDBPyConnection

    def ask(self, name: str, as_of: Any, **params: Any) -> Answer:
        """Return the answer of a question as of a moment."""
        return asking.answer_past(self.past, self.connection, name, params, as_of)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Record]:
    """Yield the recorded run, locked down as the service locks it."""
    projector = Projector()
    projector.apply(recorded_run())
    past = Past(projector.reader())
    projector.lock_down()
    yield Record(projector, past, projector.reader())
    projector.close()


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_catalog <> 'vmr_past' AND table_name <> 'batch' ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def _everything(connection: duckdb.DuckDBPyConnection, names: list[str]) -> dict[str, list[Any]]:
    # The schema of a moment is the default one: a name without a schema is looked up there.
    statement = 'SELECT t::VARCHAR FROM "{}" AS t ORDER BY 1'
    return {name: connection.execute(statement.format(name)).fetchall() for name in names}


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_table_and_view_is_that_of_the_moment(data: st.DataObject) -> None:
    """Whatever the log, and wherever it is cut: the past of a longer record is the present of the shorter one."""
    history = data.draw(histories(FAMILIES["everything"]))
    cut = data.draw(st.integers(0, len(history)))
    long, short = Projector(), Projector()
    long.apply(history)
    short.apply(history[:cut])
    connection, names = long.reader(), _names(short.reader())
    with Past(long.reader()).at(connection, cut, " ".join(names)):
        found = _everything(connection, names)
    assert found == _everything(short.reader(), names)
    long.close()
    short.close()


@pytest.mark.parametrize("name", load_questions())
def test_questions_of_the_past(recorded: Record, name: str) -> None:
    """Each question, with only what it needs folded, is answered as by a read model that has seen no more."""
    cut = 47
    shorter = Projector()
    shorter.apply(recorded_run()[:cut])
    assert recorded.ask(name, cut) == asking.answer(shorter.reader(), name, {})
    shorter.close()


@pytest.mark.parametrize(
    ("as_of", "sequence"),
    [
        (0, 0),
        ("24", 24),
        (moment(-104), 25),
        ("2026-01-31T11:58:16Z", 25),
        ("2026-01-31T12:58:16+01:00", 25),
        ("2026-01-31 11:58:16", 25),
        ("1999-12-31", 0),
        ("2999-12-31", len(recorded_run())),
        ("start", 36),
        ("start-60s", 35),
        ("start + 10s", 39),
        ("start+10100ms", 40),
        ("start+0.5m", 54),
        ("start-1h", 2),
    ],
)
def test_moments(recorded: Record, as_of: int | str | datetime, sequence: int) -> None:
    """A sequence is itself; a time, or one counted from the start, is the last event that was stored by then."""
    assert sequence_of(recorded.connection, as_of) == sequence
    assert recorded.ask("last_sequence", as_of).sequence == sequence


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        (-1, "to 63"),
        (64, "to 63"),
        ("start+1y", "no moment"),
        ("yesterday", "no moment"),
        ("", "no moment"),
        ("9" * 30, "to 63"),
    ],
)
def test_what_is_no_moment(recorded: Record, as_of: int | str, message: str) -> None:
    """What lies outside of the record, or is no moment, is refused."""
    with pytest.raises(QueryError, match=message):
        recorded.ask("vms", as_of)


def test_start_before_there_is_one(projector: Projector) -> None:
    """Seconds from the start need a start."""
    projector.apply(recorded_run()[:30])
    with pytest.raises(QueryError, match="no start yet"):
        sequence_of(projector.reader(), "start+1s")


def test_only_what_is_needed_is_folded(recorded: Record) -> None:
    """The states of VMs need no output; a table whose name comes as a text may be any."""
    assert recorded.past.needed(STATES) == {"vms", "runs"}
    assert "output" not in recorded.past.needed("SELECT * FROM ATTEMPTS")
    assert recorded.past.needed("SELECT * FROM query_table('v' || 'm')") >= {"vms", "output", "schedules"}
    assert recorded.ask("sql", 20, sql="SELECT count(*) FROM query_table('v' || 'm')").rows == [(5,)]


def test_many_moments_and_now(recorded: Record) -> None:
    """Moments are kept for a while, forgotten and folded again; the same connection then sees the present."""
    for as_of in (8, 9, 10, 11, 12, 30, 8):
        assert len(recorded.ask("sql", as_of, sql=STATES).rows) == max(0, min(as_of - 7, 4))
    schemas = recorded.connection.execute(
        "SELECT count(*) FROM duckdb_schemas() WHERE database_name = 'vmr_past' AND schema_name LIKE 's%'"
    ).fetchall()
    assert schemas == [(4,)]
    assert dict(asking.answer(recorded.connection, "sql", {"sql": STATES}).rows)["client-3"] == "failed"


def test_the_past_is_only_read(recorded: Record) -> None:
    """The fences around SQL hold in the past as well, and an error leaves the connection in the present."""
    for sql in [*HOSTILE, "INSERT INTO vmr_past.s20.log_cursor VALUES (1, 1)", "DROP SCHEMA vmr_past.s20 CASCADE"]:
        with pytest.raises(QueryError):
            recorded.ask("sql", 20, sql=sql)
    assert asking.answer(recorded.connection, "last_sequence", {}).rows == [(63, 2)]


def test_offline(tmp_path: Path) -> None:
    """Without a server the record on disk has its past as well."""
    projector = Projector(tmp_path / "sql.duckdb")
    projector.apply(recorded_run())
    projector.close()
    with open_offline(tmp_path / "sql.duckdb") as reader:
        assert reader.ask("sql", {"sql": STATES}, as_of=8).rows == [("server", "uninitialized")]
        assert len(reader.sql(STATES).rows) == 4


async def test_over_request_reply(people: AsyncLog) -> None:
    """Clients ask anything as of a moment, side by side with the present, and the answer names the sequence."""
    sequences = await people.publish_many(recorded_bodies())
    asked = [people.query("vms", as_of=as_of) for as_of in (8, 9, 10, 63)]
    answers = await asyncio.gather(*asked)
    assert [len(answer.rows) for answer in answers] == [1, 2, 3, 4]
    assert [answer.sequence for answer in answers] == [8, 9, 10, 63]
    now = await people.query("sql", {"sql": STATES}, after=sequences[-1])
    assert now.sequence == sequences[-1]
    assert (await people.query("slowest_entries", {"limit": 1}, as_of=27)).records()[0]["entry"] == "-10/hostname"
    with pytest.raises(QueryError, match="no question 'nothing'"):
        await people.query("nothing", as_of=5)
    with pytest.raises(QueryError, match="goes from sequence 0"):
        await people.query("vms", as_of=1_000_000)


def test_typed_rows(recorded: Record) -> None:
    """Rows become objects of one's own, with times as times."""

    @dataclass
    class Run:
        run: int
        start_time: datetime | None

    answer = recorded.ask("runs", 63)
    assert answer.rows_as(Run) == [Run(1, None), Run(2, START)]

    @dataclass
    class Wrong:
        name: int

    with pytest.raises(DataError, match="the rows are no Wrong"):
        answer.rows_as(Wrong)
