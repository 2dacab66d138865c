"""The history that benchmarks fold: made by SQL, and the same as if each of its events had been published."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vmr import events
from vmr.event_columns import columns_of, insert
from vmr.events import Recorded
from vmr.projector import Projector

SQL = Path(__file__).parents[2] / "ops" / "benchmarks" / "long_history.sql"
VMS, LAST = 8, 1000
WIRE = """
SELECT seq, epoch_us(stored) AS stored, subject,
    to_json({id: id, time: strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ'), producer: producer, version: version, body: body})::VARCHAR AS event
FROM events ORDER BY seq
"""


def _made() -> Projector:
    projector = Projector()
    connection = projector.reader()
    for first in (1, 301):
        connection.execute(
            SQL.read_text(), {"first": first, "last": 300 if first == 1 else LAST, "vms": VMS}
        ).fetchall()
    return projector


def _recorded(sequence: int, stored: int, subject: str, event: str) -> Recorded:
    return Recorded(sequence=sequence, stored=stored * 1000, subject=subject, event=events.decode(event.encode()))


def test_every_event_is_what_publishing_it_would_have_made() -> None:
    """Each row is that of the event in its body: subject, typed columns, and a body of the current version."""
    made, published = _made(), Projector()
    rows = made.reader().execute(WIRE).fetchall()
    assert [row[0] for row in rows] == list(range(1, LAST + 1))
    history = [_recorded(*row) for row in rows]
    for recorded in history:
        assert not isinstance(recorded.event.body, events.Unknown)
        assert recorded.subject == events.subject_of("bench", recorded.event.body)
    assert len({recorded.event.type for recorded in history}) == 9
    insert(published._connection, columns_of(history, 0))
    compared = "SELECT t::VARCHAR FROM (SELECT * EXCLUDE (body) FROM events) AS t ORDER BY seq"
    assert made.reader().execute(compared).fetchall() == published.reader().execute(compared).fetchall()
    bodies = "SELECT body FROM events ORDER BY seq"
    for (one,), (other,) in zip(*(p.reader().execute(bodies).fetchall() for p in (made, published)), strict=True):
        assert msgspec.json.decode(one) == msgspec.json.decode(other)
    made.close()
    published.close()
