"""The questions that analysts ask, each on a recorded run whose answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.readmodel.recorded_run import SHA, recorded_bodies, recorded_run
from vmr import asking
from vmr.errors import QueryError
from vmr.log import AsyncLog
from vmr.projections import load_queries, load_questions
from vmr.projector import Projector

# Question: its parameters, the columns that are looked at, and the rows.
KNOWN: dict[str, tuple[dict[str, Any], str, list[tuple[Any, ...]]]] = {
    "added_late": ({}, "server_name entry second status", [("client-2", "25/extra.sh", 16.0, "finished")]),
    "barrier_holders": (
        {},
        "server_name outcome seconds_after_first reason",
        [
            ("client-3", "waived", 44.0, "goes on without it"),
            ("server", "ready", 29.0, "all negative entries ran"),
            ("client-1", "ready", 1.0, ""),
            ("client-2", "ready", 0.0, ""),
        ],
    ),
    "changed_between": (
        {"from_seq": 37, "to_seq": 47},
        "server_name state_before state_after time_before time_after started ended output_bytes",
        [
            ("client-1", "configured", "configured", "", "", 1, 1, 15),
            ("client-2", "configured", "configured", "", "", 1, 1, 36),
            ("client-3", "failed", "failed", "", "", 0, 1, 0),
            ("server", "configured", "configured", "1", "1", 1, 0, 0),
        ],
    ),
    "configuration_time": (
        {},
        "server_name seconds executions seconds_running reboots",
        [
            ("client-3", None, 0, 0.0, 0),
            ("server", 44.0, 2, 1.25, 1),
            ("client-1", 16.0, 1, 0.5, 0),
            ("client-2", 15.0, 0, 0.0, 0),
        ],
    ),
    "failed_entries": (
        {},
        "server_name entry status exit_code reason last_error",
        [
            ("client-3", "10/fetch.sh", "failed", None, "the agent is gone", None),
            ("client-2", "25/extra.sh", "finished", 3, None, "extra: no such file"),
            ("client-1", "20/long.sh", "lost", None, "the guest rebooted", None),
        ],
    ),
    "fetch_times": ({}, "server_name seconds", [("client-1", 1.95), ("client-2", 2.88)]),
    "never_ran": (
        {"server_name": "client-3"},
        "entry kind state",
        [("10/fetch.sh", "program", "failed"), ("30/cleanup.sh", "program", "failed")],
    ),
    "output_between": (
        {"server_name": "client-2", "since": "2026-01-31T12:00:13Z", "until": "2026-01-31T12:00:33.5Z"},
        "stream first_byte text",
        [("stdout", 0, '{"tim'), ("stderr", 0, "Warning: slow link\n"), ("stdout", 3, 'ime": 2.88}\n')],
    ),
    "output_volume": (
        {},
        "server_name stream bytes pieces",
        [("client-2", "stderr", 39, 2), ("client-1", "stdout", 15, 1), ("client-2", "stdout", 15, 2)],
    ),
    "ran_late": (
        {"seconds": 0.25},
        "server_name entry lateness",
        [("client-2", "25/extra.sh", 3.25), ("client-2", "10/fetch.sh", 0.5)],
    ),
    "rebooted_vms": (
        {},
        "server_name entries seconds_away",
        [("server", '["-20/reboot.sh"]', 13.0), ("client-1", "[]", None)],
    ),
    "retried_entries": (
        {},
        "entry attempt exit_code reboot",
        [("-20/reboot.sh", 1, 10, True), ("-20/reboot.sh", 2, 0, False)],
    ),
    "schedule_holds": (
        {},
        "by server_name entry seconds",
        [("operator", None, None, 5.0), ("break", "server", "40/break", 15.0)],
    ),
    "search_output": ({"text": "WARNING"}, "server_name line text", [("client-2", 1, "Warning: slow link")]),
    "slowest_entries": (
        {"limit": 3},
        "server_name entry duration",
        [("client-1", "20/long.sh", 15.0), ("server", "40/break", 15.0), ("client-2", "10/fetch.sh", 2.88)],
    ),
    "started_together": ({}, "scheduled_time vms spread last_vm", [("10", 2, 0.5, "client-2")]),
    "still_running": ({}, "server_name entry seconds", [("server", "1/serve.sh", 69.0)]),
    "time_in_state": (
        {"state": "configuring"},
        "server_name seconds",
        [("client-1", 2.0), ("client-2", 1.0), ("client-3", 45.0), ("server", 30.0)],
    ),
    "transferred_files": ({}, "server_name guest_path size sha256", [("server", "/var/log/access", 42, SHA)]),
    "vm_timeline": (
        {"server_name": "client-3"},
        "second type detail",
        [
            (-119.0, "vm.added", "uninitialized"),
            (-110.0, "vm.handler_attached", "h1"),
            (-105.0, "vm.state_set", "configuring"),
            (-60.0, "vm.state_set", "failed: the agent did not answer"),
            (-60.0, "vm.waived", "goes on without it"),
            (10.1, "vm.entry_failed", "the agent is gone"),
        ],
    ),
}


@pytest.fixture(scope="module")
def recorded() -> Iterator[Projector]:
    """Yield a read model of the recorded run."""
    projector = Projector()
    projector.apply(recorded_run())
    yield projector
    projector.close()


def test_every_question_is_here() -> None:
    """A question without a known answer fails; there are twenty, and none has the name of a query."""
    assert load_questions().keys() == KNOWN.keys()
    assert len(KNOWN) >= 20
    assert not load_questions().keys() & (load_queries().keys() | {asking.SQL})


@pytest.mark.parametrize("name", KNOWN)
def test_known_answer(recorded: Projector, name: str) -> None:
    """The rows, in their order, are those of the recorded run."""
    params, columns, rows = KNOWN[name]
    found = asking.answer(recorded.reader(), name, params).records()
    assert [tuple(row[column] for column in columns.split()) for row in found] == rows


@pytest.mark.parametrize("name", KNOWN)
def test_asked_of_nothing(projector: Projector, name: str) -> None:
    """Before the first event every question has an answer as well, without a parameter: nothing."""
    assert asking.answer(projector.reader(), name, {}).rows == []


def test_unknown_names(recorded: Projector) -> None:
    """What cannot be asked is refused with the nearest name, or the parameters that there are."""
    with pytest.raises(QueryError, match="did you mean slowest_entries"):
        asking.answer(recorded.reader(), "slowest_entry", {})
    with pytest.raises(QueryError, match="the parameters of slowest_entries are: limit"):
        asking.answer(recorded.reader(), "slowest_entries", {"colour": "red"})


async def test_questions_are_served_beside_sql(people: AsyncLog) -> None:
    """Each question is an endpoint: any client asks it by name, and reads its own writes."""
    await people.publish_many(recorded_bodies())
    answer = await people.query("fetch_times", {"entry": "fetch"})
    assert [row["seconds"] for row in answer.records()] == [1.95, 2.88]
    assert answer.sequence == len(recorded_run())
