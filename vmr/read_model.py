"""The DuckDB database behind the projections: opened, and brought up to the SQL of today.

The table ``projections`` remembers from which text each projection was made. One whose tables are made in another way than before
is folded again from ``events`` (see `vmr.rebuild`); where only views differ, they are replaced. When the columns of ``events``
themselves have changed, everything is thrown away and the log is read again from its first event. A crash at any moment leaves the
read model as it was before or after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr.errors import DataError, LogUnavailableError
from vmr.folding import FOLD_STEP, Steps, fold, fold_all
from vmr.installed import Installed, drop, hash_of, installed, remember
from vmr.projections import Projection
from vmr.rebuild import DROP_SCHEMA, Rebuild, abandon
from vmr.recent_events import put_back
from vmr.statements import transaction

__all__ = ["FOLD_STEP", "fold", "fold_all", "open_database", "prepare"]

# A checkpoint holds up the fold that it comes after: seldom ones are worth a longer write-ahead log.
_SETTINGS: Final = "SET GLOBAL TimeZone = 'UTC'; SET GLOBAL checkpoint_threshold = '64MB'"
_BESIDE_STEP: Final = 50_000
"""Events between which a batch may be folded while projections are folded anew: a tenth of a second."""
_SLOW_PASSES: Final = frozenset(
    {
        "aggregate_function_rewriter",
        "aggregate_reuse",
        "common_subplan",
        "duplicate_groups",
        "expression_rewriter",
        "join_elimination",
        "outer_join_simplification",
        "projection_placement",
        "projection_pullup",
        "statistics_propagation",
    }
)
"""Passes of DuckDB's optimizer that look for what vmr's folds and queries have not: a seventh of the time of a small statement."""
_MEMORY: Final = "1GB"
"""What the database of a file may take; in memory it takes what it needs."""


def open_database(path: Path | str, *, threads: int, prompt: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the database at ``path`` (``:memory:`` for one without a file), which shows times in UTC.

    A ``prompt`` one is for small statements, all of them vmr's own: it plans them quickly, and not as well as it could others.

    Raises `LogUnavailableError` when another process has it open, `DataError` when it cannot be read.
    """
    options: dict[str, Any] = {"threads": threads, "autoinstall_known_extensions": False}
    if str(path) != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        options |= {"memory_limit": _MEMORY}
    try:
        connection = duckdb.connect(str(path), config=options)
    except duckdb.Error as error:
        if "set lock on file" in str(error):
            raise LogUnavailableError(
                f"read model {path} is open in another process; stop that projector first (`vmr status`)"
            ) from error
        raise DataError(f"read model {path} cannot be opened: {error}; delete it, the log has it all") from error
    connection.execute(_SETTINGS)
    if prompt:
        _plan_quickly(connection)
    return connection


def _plan_quickly(connection: duckdb.DuckDBPyConnection) -> None:
    # Another version of DuckDB may have other passes, and takes no name that it does not know.
    passes = {name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()}
    connection.execute(f"SET GLOBAL disabled_optimizers = '{','.join(sorted(passes & _SLOW_PASSES))}'")


def prepare(
    connection: duckdb.DuckDBPyConnection, projections: Sequence[Projection], *, beside: bool = False
) -> Rebuild | None:
    """Make the read model in ``connection`` one of ``projections``.

    Projections whose tables are made in another way than before are folded again. With ``beside``, that may be left to do: what is
    returned then must be stepped until it is done, and until then says what is to be folded. Raises `duckdb.Error` when the SQL of
    a projection is wrong, and leaves the read model as it was.
    """
    put_back(connection)
    held = installed(connection)
    wanted = {one.name: hash_of(one) for one in projections}
    first = projections[0].name
    if first not in held or held[first].hash != wanted[first]:
        _make(connection, projections, held)
        held = installed(connection)
    if [(one.name, one.hash) for one in held.values()] == list(wanted.items()):
        abandon(connection)
        return None
    rebuild = Rebuild(connection, projections, held, Steps(_BESIDE_STEP if beside else FOLD_STEP))
    if beside and rebuild.can_wait:
        return rebuild
    while not rebuild.step():
        pass
    return None


def _make(
    connection: duckdb.DuckDBPyConnection, projections: Sequence[Projection], held: Mapping[str, Installed]
) -> None:
    """Make the tables and views of ``projections``, empty; what there is has other columns of events, and goes."""
    with transaction(connection):
        for old in held.values():
            drop(connection, old.objects)
        connection.execute(DROP_SCHEMA)
        for one in projections:
            connection.execute(f"{one.table}\n{one.views}")
        remember(connection, projections)
