"""What events say arrives in the columns of the table ``events``, however many come at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.histories import FAMILIES, histories, record
from vmr import events
from vmr.event_columns import fields_of
from vmr.events import KnownBody, Recorded
from vmr.projector import Projector

MANY = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rows(records: list[Recorded]) -> list[dict[str, Any]]:
    projector = Projector()
    try:
        projector.apply(records)
        times = "epoch_us(time) AS time, epoch_us(stored) AS stored, epoch_us(due) AS due"
        chosen = f"{times}, epoch_us(launch_time) AS launch_time, epoch_us(start_time) AS start_time"
        cursor = projector.reader().execute(f"SELECT * REPLACE ({chosen}) FROM events ORDER BY seq")  # noqa: S608
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    finally:
        projector.close()


def _expected(value: object) -> object:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return None
    return value


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_field_of_every_event_is_in_its_column(family: tuple[type[KnownBody], ...], data: st.DataObject) -> None:
    """By ones and by many, with defaults left out of the JSON or not, columns hold what the decoded event says and nothing else."""
    history = data.draw(histories(family))
    for records in (history, (history * (MANY // len(history) + 1))[:MANY]):
        numbered = [msgspec.structs.replace(one, sequence=place) for place, one in enumerate(records, 1)]
        for row, recorded in zip(_rows(numbered), numbered, strict=True):
            body = recorded.event.body
            fields = () if isinstance(body, events.Unknown) else fields_of(type(body))
            said = {field.column: _expected(getattr(body, field.attribute)) for field in fields}
            every = {field.column for one in events.BODY_TYPES.values() for field in fields_of(one)}
            assert {name: row[name] for name in every} == dict.fromkeys(every) | said


def test_what_a_later_version_adds_to_an_event_is_kept() -> None:
    """A field that this code does not know is in the body, and the columns of the others are filled."""
    (known,) = record([events.VmAdded(server_uuid="a", server_name="web")])
    data = events.encode(known.event).replace(b'"server_name"', b'"colour":"red", "server_name"')
    recorded = msgspec.structs.replace(known, event=events.decode(data), data=data)
    (row,) = _rows([recorded])
    assert msgspec.json.decode(row["body"])["colour"] == "red"
    assert (row["server_name"], row["state"], row["known"]) == ("web", "uninitialized", True)


def test_numbers_that_no_column_holds_are_left_to_the_body() -> None:
    """An exit code beyond 64 bits stops nothing."""
    (recorded,) = record([events.EntryFinished(server_uuid="a", entry="1/x", attempt=1, exit_code=2**70)])
    (row,) = _rows([recorded])
    assert row["exit_code"] is None
    assert msgspec.json.decode(row["body"])["exit_code"] == 2**70
