"""Every golden example that was ever published folds; what is not known yet is kept, counted, and folds once it is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.readmodel.tables import contents, empty
from vmr import contract, events
from vmr.answers import Select, read
from vmr.event_columns import KINDS, RENAMED
from vmr.events import BODY_TYPES, Recorded, VmStateSet, VmWaived, decode, encode, wire
from vmr.projector import Projector

FILES = sorted((contract.streams() / "golden").glob("*.json"))
GOLDEN: list[dict[str, Any]] = [event for file in FILES for event in json.loads(file.read_text())]
VM = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
NOT_COUNTED = {"subject", "seq", "run", "stored", "known"}


def recorded(published: list[dict[str, Any]]) -> list[Recorded]:
    """Return ``published`` as the log holds it, from sequence 1 on, read by the code of today."""
    return [
        Recorded(
            sequence=sequence, stored=sequence * 1000, subject=f"vmr.test.{event['body']['type']}", event=decode(raw)
        )
        for sequence, (event, raw) in enumerate(((one, json.dumps(one).encode()) for one in published), 1)
    ]


def asked(projector: Projector, sql: str) -> list[dict[str, Any]]:
    """Return the rows of ``sql``."""
    return read(projector.reader(), Select(sql)).records()


def test_every_example_is_known_and_in_its_columns(projector: Projector) -> None:
    """Each is there as a whole, and each of its fields that has a column is in it, with its value."""
    projector.apply(recorded(GOLDEN))
    rows = asked(projector, "SELECT * FROM events ORDER BY seq")
    assert [row["known"] for row in rows] == [True] * len(GOLDEN)
    for row, event in zip(rows, GOLDEN, strict=True):
        body = event["body"]
        assert json.loads(row["body"]) == json.loads(encode(decode(json.dumps(event).encode())))["body"]
        assert (row["id"], row["type"], row["producer"]) == (event["id"], body["type"], event["producer"])
        for field, value in body.items():
            column = RENAMED.get(f"{body['type']}.{field}", RENAMED.get(field, field))
            if column in KINDS and column not in NOT_COUNTED and not isinstance(value, list | dict):
                assert row[column] == (_moment(value) if KINDS[column] == "time" else value), (field, event)


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%S.%f}Z"


def test_every_example_folds_by_itself(projector: Projector) -> None:
    """Also where nothing came before it; and none is said to be not known."""
    for file in FILES:
        examples = recorded(json.loads(file.read_text()))
        assert projector.apply(examples) == len(examples)
        assert asked(projector, "FROM anomalies WHERE kind = 'unknown event'") == []
        empty(projector)


def test_examples_fold_the_same_in_one_batch_and_one_by_one(projector: Projector) -> None:
    """In the order of their times, as a log would hold them."""
    examples = recorded(sorted(GOLDEN, key=lambda event: str(event["time"])))
    projector.apply(examples)
    other = Projector()
    for one in examples:
        other.apply([one])
    assert contents(projector._connection) == contents(other._connection)
    other.close()


@pytest.fixture
def from_later() -> list[dict[str, Any]]:
    """Return a log with an event of a type, and one of a version, that today's code does not know."""
    return [
        _event(1, "vm.added", server_uuid=VM, server_name="web-1", state="configured"),
        _event(2, "vm.teleported", server_uuid=VM, to={"größe": [1, None, 2**70]}),
        _event(3, "vm.state_set", version=2, server_uuid=VM, condition="failed"),
        _event(4, "vm.waived", server_uuid=VM, reason="gone"),
    ]


def _event(number: int, kind: str, *, version: int = 1, **body: Any) -> dict[str, Any]:
    identity = f"019c13ec-0000-7000-8000-{number:012x}"
    at = f"2026-01-31T12:00:{number:02}.000000Z"
    return {"id": identity, "time": at, "producer": "later", "version": version, "body": {"type": kind, **body}}


def test_what_is_not_known_is_kept_raw_and_counted(projector: Projector, from_later: list[dict[str, Any]]) -> None:
    """Its body is there whole, the anomalies name type and version, and the rest is folded as if it were not there."""
    projector.apply(recorded(from_later))
    rows = asked(projector, "SELECT seq, type, version, body FROM events WHERE NOT known ORDER BY seq")
    assert [(row["seq"], row["type"], row["version"]) for row in rows] == [
        (2, "vm.teleported", 1),
        (3, "vm.state_set", 2),
    ]
    assert [json.loads(row["body"]) for row in rows] == [event["body"] for event in from_later[1:3]]
    found = asked(projector, "SELECT seq, detail FROM anomalies WHERE kind = 'unknown event'")
    assert [(row["seq"], row["detail"]) for row in found] == [
        (2, "type vm.teleported version 1 is not known to this vmr"),
        (3, "type vm.state_set version 2 is not known to this vmr"),
    ]
    assert asked(projector, "SELECT state, waived IS NOT NULL AS waived FROM vms") == [
        {"state": "configured", "waived": True}
    ]


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield, while the code is one that does not know vm.waived yet, the folder of its projections."""
    folder = tmp_path / "projections"
    folder.mkdir()
    for file in contract.projections().glob("*.sql"):
        (folder / file.name).write_text(file.read_text().replace("fold on vm.waived", "fold on vm.rebooted"))
    with monkeypatch.context() as patch:
        patch.delitem(BODY_TYPES, "vm.waived")
        # Whoever does not know a type cannot decode it in one pass either.
        patch.setattr(wire, "_known_events", msgspec.json.Decoder(int))
        yield folder


def _unknown(projector: Projector) -> list[str]:
    rows = asked(projector, "SELECT type FROM anomalies WHERE kind = 'unknown event' ORDER BY seq")
    return [row["type"] for row in rows]


def test_a_type_folds_once_it_is_known(tmp_path: Path, from_later: list[dict[str, Any]], older: Path) -> None:
    """What an older vmr has kept raw is read from the log again by one that knows it; until then nothing is read again."""
    path, projections = tmp_path / "read_model.duckdb", older
    old = Projector(path, folder=projections)
    old.apply(recorded(from_later))
    assert _unknown(old) == ["vm.teleported", "vm.state_set", "vm.waived"]
    old.close()
    same = Projector(path, folder=projections)
    assert same.cursor == 4
    same.close()
    BODY_TYPES["vm.waived"] = VmWaived
    new = Projector(path)
    assert new.cursor == 0
    new.apply(recorded(from_later))
    assert _unknown(new) == ["vm.teleported", "vm.state_set"]
    assert asked(new, "SELECT waived IS NOT NULL AS waived FROM vms") == [{"waived": True}]
    new.close()


def test_a_version_folds_once_it_is_known(
    tmp_path: Path, from_later: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same goes for a newer version of a type, where neither columns nor folds differ."""
    path = tmp_path / "read_model.duckdb"
    from_later[2]["body"]["state"] = "failed"
    old = Projector(path)
    old.apply(recorded(from_later))
    assert _unknown(old) == ["vm.teleported", "vm.state_set"]
    old.close()
    monkeypatch.setattr(VmStateSet, "VERSION", 2)
    new = Projector(path)
    assert new.cursor == 0
    new.apply(recorded(from_later))
    assert _unknown(new) == ["vm.teleported"]
    assert asked(new, "SELECT state FROM vms") == [{"state": "failed"}]
    new.close()


def test_an_old_version_is_brought_up_to_date(projector: Projector, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a type has a new version, its published examples of the old one still fold, through the upcaster."""
    monkeypatch.setattr(VmStateSet, "VERSION", 2)
    monkeypatch.setitem(events.UPCASTERS, ("vm.state_set", 1), lambda body: {**body, "state": body["state"].upper()})
    states = [event["body"]["state"] for event in GOLDEN if event["body"]["type"] == "vm.state_set"]
    projector.apply(recorded([event for event in GOLDEN if event["body"]["type"] == "vm.state_set"]))
    rows = asked(projector, "SELECT state, known FROM events ORDER BY seq")
    assert [(row["state"], row["known"]) for row in rows] == [(state.upper(), True) for state in states]
