"""What a comparison finds, and what counts as a difference."""

from __future__ import annotations

import itertools
from pathlib import Path

import duckdb
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.compare.stories import START, Story, program, read_model
from tests.readmodel.histories import FAMILIES, histories
from vmr import events
from vmr.comparison import Comparison, Tolerances, compare, write_page
from vmr.errors import DataError
from vmr.events import Recorded


def told(identity: str, *, fetch: float = 2.0, late: float = 0.01, code: int = 0, text: bytes = b"one\ntwo\n") -> Story:
    """Return a run of two VMs."""
    story = Story(identity)
    story.added("web", program(-10, "setup"), program(5, "serve"), ready=-60)
    story.added("client", program(10, "fetch"), program(30, "never"), ready=-70)
    story.ran("web", "-10/setup", -90, 20.0)
    story.started()
    story.ran("web", "5/serve", 5, 60.0)
    story.ran("client", "10/fetch", 10, fetch, code, late=late)
    story.wrote("client", "10/fetch", 11, text)
    return story


def compared(folder: Path, a: Story, b: Story, **tolerances: object) -> Comparison:
    """Return the comparison of two runs."""
    first, second = a.read_model(folder / "a.duckdb"), b.read_model(folder / "b.duckdb")
    return compare(("A", first), ("B", second), Tolerances(**tolerances))  # type: ignore[arg-type]


def found(comparison: Comparison) -> dict[str, int | None]:
    """Return how many differences of each kind there are, without those of which there are none."""
    return {check.name: check.found for check in comparison.checks if check.found}


def test_runs_of_other_identities_are_alike(tmp_path: Path) -> None:
    """Executions match by VM name, entry and attempt; identities of VMs, which are new in every run, do not count."""
    result = compared(tmp_path, told("x"), told("y"), duration_ratio=1.0, lateness_seconds=0.0, barrier_order=True)
    assert not result.differs
    assert found(result) == {}
    assert result.matched == 3


def test_a_run_is_like_itself(tmp_path: Path) -> None:
    """The same file may be both sides."""
    path = told("x").read_model(tmp_path / "a.duckdb")
    assert not compare(("A", path), ("B", path)).differs


def test_vm_only_in_one(tmp_path: Path) -> None:
    """A VM that is only in one run is one difference; its executions are counted with it, not listed again."""
    b = told("y")
    b.added("extra", program(10, "fetch"))
    b.ran("extra", "10/fetch", 10, 1.0)
    result = compared(tmp_path, told("x"), b)
    assert found(result) == {"vms_only_in_one": 1}
    assert result.differences["vms_only_in_one"] == [{"run": "b", "vm": "extra", "executions": 1}]
    assert result.differs


def test_execution_only_in_one(tmp_path: Path) -> None:
    """What ran in one run only is listed, with whether the other had it in its schedule."""
    a, b = told("x"), told("y")
    a.ran("client", "30/never", 30, 1.0, 3)
    b.ran("client", "10/fetch", 15, 1.0, attempt=2)
    b.ran("web", "7/other", 7, 1.0)
    rows = compared(tmp_path, a, b).differences["entries_only_in_one"]
    assert [(row["run"], row["vm"], row["entry"], row["nth"], row["planned_in_other"]) for row in rows] == [
        ("b", "client", "10/fetch", 2, True),
        ("a", "client", "30/never", 1, True),
        ("b", "web", "7/other", 1, False),
    ]


def test_other_exit_code(tmp_path: Path) -> None:
    """Another exit code is a difference."""
    result = compared(tmp_path, told("x"), told("y", code=7))
    (row,) = result.differences["ended_differently"]
    assert (row["vm"], row["entry"], row["exit_a"], row["exit_b"]) == ("client", "10/fetch", 0, 7)
    assert result.differs


def test_not_ended_in_one(tmp_path: Path) -> None:
    """What ended in one run and still ran at the end of the other ended differently."""
    a, b = told("x"), told("y")
    a.ran("client", "30/never", 30, 1.0)
    b.began("client", "30/never", 30)
    (row,) = compared(tmp_path, a, b).differences["ended_differently"]
    assert (row["status_a"], row["status_b"]) == ("finished", "running")


def test_output_that_differs(tmp_path: Path) -> None:
    """The first line that differs is named, per stream; --ignore-output leaves all of it out."""
    a, b = told("x"), told("y", text=b"one\ntwice\n")
    b.wrote("client", "10/fetch", 12, b"warning\n", stream="stderr")
    result = compared(tmp_path, a, b)
    assert result.differs
    assert result.differences["output_differs"] == [
        {
            "vm": "client",
            "entry": "10/fetch",
            "nth": 1,
            "stream": "stdout",
            "line": 2,
            "byte": 3,
            "a": "two",
            "b": "twice",
        },
        {
            "vm": "client",
            "entry": "10/fetch",
            "nth": 1,
            "stream": "stderr",
            "line": 1,
            "byte": 1,
            "a": None,
            "b": "warning",
        },
    ]


def test_ignored_output(tmp_path: Path) -> None:
    """Output that is not compared is no difference, and is said not to have been compared."""
    result = compared(tmp_path, told("x"), told("y", text=b"other"), ignore_output=True)
    assert not result.differs
    assert {check.name: check.found for check in result.checks}["output_differs"] is None


def test_output_in_other_pieces_is_the_same(tmp_path: Path) -> None:
    """How output was cut into pieces, and bytes that were captured twice, make no difference."""
    a, b = told("x", text=b""), told("y", text=b"")
    a.wrote("client", "10/fetch", 11.1, b"one\ntwo\nthree\n")
    b.wrote("client", "10/fetch", 11.1, b"on", b"e\ntw", b"o\nthr")
    b.wrote("client", "10/fetch", 11.2, b"two\nthree\n", first=4)
    assert not compared(tmp_path, a, b).differs


def test_ignored_entries(tmp_path: Path) -> None:
    """Entries that a pattern matches are left out of everything."""
    result = compared(tmp_path, told("x"), told("y", code=7, text=b"?"), ignore=("10/*",))
    assert not result.differs
    assert result.matched == 2


def test_durations(tmp_path: Path) -> None:
    """Durations count when they differ by more than the ratio and more than the seconds, and only when asked to."""
    a = told("x", fetch=4.0).read_model(tmp_path / "a.duckdb")
    b = told("y", fetch=2.0).read_model(tmp_path / "b.duckdb")
    for ratio, seconds in ((2.5, 0.5), (1.5, 3.0), (None, 0.0)):
        assert not compare(("A", a), ("B", b), Tolerances(duration_ratio=ratio, duration_seconds=seconds)).differs
    result = compare(("A", a), ("B", b), Tolerances(duration_ratio=1.5, duration_seconds=0.5))
    assert result.differs
    assert result.differences["durations_differ"][0]["ratio"] == pytest.approx(0.5)


def test_lateness(tmp_path: Path) -> None:
    """Lateness counts when it differs by more than the seconds, and only when asked to."""
    a, b = told("x").read_model(tmp_path / "a.duckdb"), told("y", late=0.51).read_model(tmp_path / "b.duckdb")
    assert not compare(("A", a), ("B", b)).differs
    assert not compare(("A", a), ("B", b), Tolerances(lateness_seconds=0.6)).differs
    result = compare(("A", a), ("B", b), Tolerances(lateness_seconds=0.4))
    assert result.differs
    assert result.differences["lateness_differs"][0]["difference"] == pytest.approx(0.5)


def test_barrier_order(tmp_path: Path) -> None:
    """The order in which VMs became ready is shown, and counts only when asked to."""
    a = told("x")
    b = Story("y")
    b.added("web", ready=-80)
    b.added("client", ready=-70)
    b.started()
    result = compared(tmp_path, a, b, ignore=("*",), barrier_order=True)
    assert result.differs
    assert {row["vm"]: (row["place_a"], row["place_b"]) for row in result.differences["barrier_order"]} == {
        "client": (1, 2),
        "web": (2, 1),
    }
    assert (result.barrier["last_a"], result.barrier["last_b"], result.barrier["likeness"]) == ("web", "client", -1)
    assert result.barrier["last_ready_a"] == 40


def test_distributions(tmp_path: Path) -> None:
    """Quantiles are over the executions of both runs; every one of them is in a range of the histogram."""
    result = compared(tmp_path, told("x", fetch=4.0), told("y", fetch=2.0))
    by_name = {(row["measure"], row["of"]): row for row in result.distributions}
    assert (by_name["duration", "a"]["median"], by_name["duration", "a"]["total"]) == (20.0, 84.0)
    assert by_name["duration", "b / a"]["least"] == 0.5
    assert by_name["lateness", "b - a"]["most"] == 0
    ranges = [row for row in result.histograms if row["measure"] == "duration"]
    assert sum(row["a"] for row in ranges) == sum(row["b"] for row in ranges) == 3
    assert all(before["most"] == pytest.approx(after["least"]) for before, after in itertools.pairwise(ranges))
    (place,) = (row for row in ranges if row["least"] <= 4.0 < row["most"])
    assert place["a"] == 1


def test_no_read_model(tmp_path: Path) -> None:
    """A database that is no read model is refused by name."""
    path = tmp_path / "other.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(DataError, match="B cannot be compared"):
        compare(("A", told("x").read_model(tmp_path / "a.duckdb")), ("B", path))


def test_a_guest_that_lies_about_durations(tmp_path: Path) -> None:
    """Durations that cannot be are shown, and break nothing."""
    result = compared(tmp_path, told("x", fetch=1.0), _liar(), duration_ratio=2.0)
    assert result.differences["durations_differ"][0]["duration_b"] == 1e300


def _liar() -> Story:
    story = Story("y")
    for recorded in told("y").recorded():
        body = recorded.event.body
        if isinstance(body, events.EntryFinished) and body.entry == "10/fetch":
            body = msgspec.structs.replace(body, duration=1e300)
        assert not isinstance(body, events.Unknown)
        story.say((recorded.event.time - START).total_seconds(), body)
    return story


@given(log=histories(FAMILIES["everything"]), other=histories(FAMILIES["output"]))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_recorded(
    log: list[Recorded], other: list[Recorded], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Events that contradict each other are compared as well: a run is like itself, and differs both ways round."""
    folder = tmp_path_factory.mktemp("any")
    a, b = read_model(folder / "a.duckdb", log), read_model(folder / "b.duckdb", other)
    strict = Tolerances(duration_ratio=1.0, duration_seconds=0.0, lateness_seconds=0.0, barrier_order=True)
    assert not compare(("A", a), ("A", a), strict).differs
    there, back = compare(("A", a), ("B", b), strict), compare(("B", b), ("A", a), strict)
    assert found(there) == found(back)
    write_page(there, folder / "page.html")
