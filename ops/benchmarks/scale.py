"""Part of the family `projection`: a history of ten million events folded anew, its past, and what it takes on disk.

The events are made by SQL in the database that folds them (`long_history.sql`): what is measured begins with the table ``events``.
``ops/bench projection --events N`` takes a shorter history, and names its rows by that.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from harness import Goal, Row, options, row

from vmr import read_model
from vmr.asking import answer_past
from vmr.past import Past
from vmr.projections import load_projections
from vmr.projector import Projector

_SQL = Path(__file__).with_name("long_history.sql")
_VMS = 3003
_STEP = 1_000_000
_SMALLEST = 10_000
_TIMES = 3
_FOLDED = "folded.duckdb"
_EVERYTHING = """
SELECT
    (SELECT count(*) FROM vms), (SELECT count(*) FROM attempts WHERE status = 'running'), (SELECT sum(size) FROM output),
    (SELECT count(*) FROM schedules), (SELECT count(*) FROM resources), (SELECT count(*) FROM transfers),
    (SELECT count(*) FROM controls), (SELECT count(*) FROM handlers), (SELECT count(*) FROM reboots),
    (SELECT count(*) FROM not_ready), (SELECT start_time FROM current_run)
"""
T = TypeVar("T")


def make_events(path: Path, events: int) -> None:
    """Make a read model at ``path`` that holds so many ``events`` of 3,003 VMs, and has folded none of them."""
    projector = Projector(path)
    connection, sql = projector.reader(), _SQL.read_text(encoding="utf-8")
    for first in range(1, events + 1, _STEP):
        last = min(events, first + _STEP - 1)
        connection.execute(sql, {"first": first, "last": last, "vms": _VMS}).fetchall()
    connection.close()
    projector.close()


def fold(path: Path) -> tuple[float, float]:
    """Fold all events of the read model at ``path``; return the seconds that took, and this process's most memory in MB."""
    connection = read_model.open_database(path, threads=2)
    projections = load_projections()
    read_model.prepare(connection, projections)
    ((last,),) = connection.execute("SELECT max(seq) FROM events").fetchall()
    began = time.perf_counter()
    read_model.fold_all(connection, projections, 1, last)
    seconds = time.perf_counter() - began
    connection.close()
    return seconds, _peak_megabytes()


def _peak_megabytes() -> float:
    # getrusage says, of a process that was just begun, what the one took that began it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split(maxsplit=1)[0]) / 1024


def look_back(path: Path) -> dict[str, list[float]]:
    """Return the milliseconds that moments of the read model at ``path`` take that were not asked for before."""
    projector = Projector(path)
    past, connection = Past(projector.reader()), projector.reader()
    found: dict[str, list[float]] = {"as_of": [], "states_as_of": []}
    for part in range(1, _TIMES + 1):
        moment = projector.cursor * part // _TIMES
        for name, sql in (("as_of", _EVERYTHING), ("states_as_of", "SELECT * FROM vms")):
            began = time.perf_counter()
            answer_past(past, connection, "sql", {"sql": sql}, moment - len(name))
            found[name].append((time.perf_counter() - began) * 1000)
    projector.close()
    return found


def measure_scale() -> list[Row]:
    """Return the rows of a long history, and of ones a tenth, a hundredth, … as long: their rates say whether it is linear."""
    sizes = [options.events]
    while sizes[-1] // 10 >= _SMALLEST:
        sizes.append(sizes[-1] // 10)
    rows: list[Row] = []
    shorter: _Figures | None = None
    for size in reversed(sizes):
        with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
            shorter = _measured(Path(folder), size, shorter, rows)
            if size == options.events:
                rows += _last_rows(Path(folder) / _FOLDED, size)
    return rows


class _Figures(msgspec.Struct, frozen=True):
    size: int
    rates: list[float]
    megabytes: list[float]


def _measured(folder: Path, size: int, shorter: _Figures | None, rows: list[Row]) -> _Figures:
    """Fold ``size`` events a few times, append the rows to ``rows``, and return the figures; the last one stays in ``folder``."""
    make_events(folder / "events.duckdb", size)
    found = []
    for _ in range(_TIMES):
        shutil.copyfile(folder / "events.duckdb", folder / _FOLDED)
        found.append(apart(fold, folder / _FOLDED))
    figures = _Figures(size, [size / seconds for seconds, _ in found], [megabytes for _, megabytes in found])
    name = None if shorter is None else f"{shorter.size:,} events"
    rate, memory = (None, None) if shorter is None else (shorter.rates, shorter.megabytes)
    called = f"rebuild_{_called(size)}"
    goal = Goal(value=50_000)
    rows.append(
        row("projection", f"{called}_events_per_s", "1/s", figures.rates, goal=goal, baseline=rate, baseline_name=name)
    )
    less = Goal(better="less")
    rows.append(
        row("projection", f"{called}_mb", "MB", figures.megabytes, goal=less, baseline=memory, baseline_name=name)
    )
    return figures


def _last_rows(path: Path, size: int) -> list[Row]:
    past = apart(look_back, path)
    moments = [
        row("projection", f"{name}_{_called(size)}_ms", "ms", values, goal=Goal(value=1_000, better="less"))
        for name, values in past.items()
    ]
    stored = path.stat().st_size / size
    return [*moments, row("projection", "bytes_per_event", "B", [stored], goal=Goal(value=150, better="less"))]


def _called(size: int) -> str:
    for unit, name in ((1_000_000, "m"), (1_000, "k")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def apart(work: Callable[..., T], *arguments: Path) -> T:
    """Return what ``work`` returns in a process of its own, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()
