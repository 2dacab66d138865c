"""Whether a record is still what it was: folded twice, in other ways each time, and compared with the seal of its run.

One fold goes through the events in small steps with one thread, the other in large ones with two. Every table must come out the same,
and the same as when the run ended, if it was sealed then (`vmr.replay.seal`) and is folded by the same SQL now.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from vmr import read_model
from vmr.errors import DataError
from vmr.events import ExperimentSealed, SealedProjection
from vmr.opened.build import quoted, show_events
from vmr.projections import load_projections
from vmr.replay.hashes import hashes_of
from vmr.replay.selection import Wanted
from vmr.replay.table import TableSource

_MEMORY: Final = "450MB"
_SEALED: Final = "experiment.sealed"

Tell = Callable[[int, int], None]
"""Is told how many events are folded, of how many, both folds together."""


class Way(msgspec.Struct, frozen=True):
    """One way to fold: how many events at a time, with how many threads."""

    step: int
    threads: int


_PARTS: Final = 7
_LARGEST: Final = 2_000_000


def ways_of(count: int) -> tuple[Way, ...]:
    """Return how ``count`` events are folded: in some pieces with one thread, and at once, or nearly so, with two."""
    return Way(min(count // _PARTS + 1, _LARGEST), 1), Way(_LARGEST, 2)


class Verdict(msgspec.Struct, frozen=True):
    """What was found.

    Attributes:
        first: sequence of the first event that was folded.
        last: sequence of the last; the seal's, where there is one.
        beyond: how many events the run has after that, which no seal covers.
        tables: how many tables were compared.
        unequal: tables that the two folds did not agree on.
        sealed: the hash of all tables in the seal, None when the run was not sealed.
        changed: tables that are no longer what the seal says.
        other_sql: projections that the seal knows and that are folded by other SQL today, and so cannot be compared.

    """

    first: int
    last: int
    beyond: int
    tables: int
    unequal: tuple[str, ...] = ()
    sealed: str | None = None
    changed: tuple[str, ...] = ()
    other_sql: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether nothing differs."""
        return not self.unequal and not self.changed


def verify(table: TableSource, *, tell: Tell | None = None, ways: Sequence[Way] | None = None) -> Verdict:
    """Fold the events of ``table`` in each of ``ways`` (default: `ways_of`) and compare what comes out, with the run's seal as well.

    ``tell`` is called in other threads. Raises `DataError` when the events cannot be folded.
    """
    seal = seal_in(table)
    count = table.last - table.first + 1
    if seal is not None and (covered := seal.events.last - seal.events.first + 1) != count:
        if covered > count:
            raise DataError(f"the seal of the run covers {covered:,} events, and only {count:,} are here")
        count = covered
    last = table.first + count - 1
    ways = ways or ways_of(count)
    done = _Told(tell, (last - table.first + 1) * len(ways))
    with tempfile.TemporaryDirectory(prefix="vmr-verify-") as folder, ThreadPoolExecutor(len(ways)) as threads:
        work = partial(_hashes, table, last, done)
        folded = list(threads.map(work, ways, [Path(folder) / f"{place}.duckdb" for place in range(len(ways))]))
    return _compared(table, last, folded, seal)


def seal_in(table: TableSource) -> ExperimentSealed | None:
    """Return the last seal among the events of ``table``; None when there is none."""
    found: ExperimentSealed | None = None
    with contextlib.closing(table.read(Wanted(types=(_SEALED,)))) as batches:
        for batch in batches:
            for recorded in batch:
                if isinstance(recorded.event.body, ExperimentSealed):
                    found = recorded.event.body
    return found


class _Told:
    """Adds up how far several folds are."""

    def __init__(self, tell: Tell | None, total: int) -> None:
        self._tell = tell
        self._total = total
        self._reached: dict[Path, int] = {}

    def __call__(self, place: Path, reached: int) -> None:
        self._reached[place] = reached
        if self._tell is not None:
            self._tell(sum(self._reached.values()), self._total)


def _hashes(
    table: TableSource, last: int, told: Callable[[Path, int], None], way: Way, path: Path
) -> tuple[SealedProjection, ...]:
    try:
        with _folding(table, last, way, path) as connection:
            projections = load_projections()
            count = last - table.first + 1
            read_model.fold_all(connection, projections, 1, count, step=way.step, tell=partial(told, path))
            return hashes_of(connection)
    except duckdb.Error as error:
        raise DataError(f"the events cannot be folded: {error}") from error


@contextlib.contextmanager
def _folding(table: TableSource, last: int, way: Way, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty read model whose events are those of ``table``, counted from 1, as run 1."""
    with contextlib.closing(read_model.open_database(path, threads=way.threads)) as connection:
        spill = path.with_name(f"{path.name}.spill")
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{quoted(spill)}'")
        projections = load_projections()
        read_model.prepare(connection, projections)
        changed = {"run": "1"}
        if table.first > 1:
            changed["seq"] = f"seq - {table.first - 1:d}"
        relation = table.attach_to(connection)
        show_events(connection, projections[0], f"(FROM {relation} WHERE seq <= {last:d})", changed=changed)
        yield connection


def _compared(
    table: TableSource, last: int, folded: Sequence[tuple[SealedProjection, ...]], seal: ExperimentSealed | None
) -> Verdict:
    one, *others = [_by_table(hashes) for hashes in folded]
    unequal = [name for name in one if any(other[name] != one[name] for other in others)]
    verdict = Verdict(table.first, last, table.last - last, len(one), tuple(unequal))
    if seal is None:
        return verdict
    today = {projection.name: projection.sql for projection in folded[0]}
    same = [projection for projection in seal.projections if today.get(projection.name) == projection.sql]
    changed = [name for name, value in _by_table(same).items() if one.get(name) != value]
    other_sql = [projection.name for projection in seal.projections if projection not in same]
    sealed_beyond = verdict.beyond - 1  # the seal itself
    return msgspec.structs.replace(
        verdict, beyond=sealed_beyond, sealed=seal.sha256, changed=tuple(changed), other_sql=tuple(other_sql)
    )


def _by_table(hashes: Sequence[SealedProjection]) -> dict[str, str]:
    return {name: value for projection in hashes for name, value in projection.tables.items()}
