"""When what a read model's write-ahead log holds is put into its database file, and made to last.

DuckDB sees to both by itself: a sync at every commit, and a checkpoint every so many bytes. A read model that follows a log is better served
otherwise. The log has every event on disk, so a commit need not wait for the disk. A checkpoint holds up the events that come meanwhile: small
ones are short, but for now and then one that merges what the small ones before it left, which takes half a second. So the small ones merge
nothing, and that is done when no events come.

What a power failure leaves of an unsynced write-ahead log is whole transactions and perhaps a torn end, and DuckDB's checksums tell one
from the other: the read model is then as of an earlier event, or is made anew from the log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb
import structlog

_log = structlog.get_logger(__name__)
_LARGE: Final = 64 << 20
"""Bytes of the write-ahead log at which a checkpoint waits for nothing: opening the read model reads them all."""
_WAITED_FOR: Final = 4 << 20
"""Bytes at which one is taken as soon as no event waits: they take some 15 ms."""
_QUIET: Final = 1 << 20
"""Bytes at which one is taken when no event has come for a while."""
_ON_ITS_OWN: Final = (
    "SET GLOBAL checkpoint_threshold = '1TB'; SET GLOBAL fsync_mode = 'NONE'; SET GLOBAL max_vacuum_tasks = 0"
)
_SYNCED: Final = "SET GLOBAL fsync_mode = 'STANDARD'"
_MERGING: Final = f"{_SYNCED}; SET GLOBAL max_vacuum_tasks = 100"


class Checkpoints:
    """Takes the checkpoints of the database file at ``path``, which ``connection`` has open, instead of DuckDB; commits are not synced."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._wal = path.with_name(f"{path.name}.wal")
        self._unmerged = False
        # Where a checkpoint was not to be had, what has been written since counts: it is not tried again and again.
        self._counted_from = 0
        connection.execute(_ON_ITS_OWN)

    def due(self, *, quiet: bool) -> bool:
        """Whether to take a checkpoint now that no event waits, and none has come for a while if it is ``quiet``."""
        return self._written() >= (_QUIET if quiet else _WAITED_FOR) or (quiet and self._unmerged)

    def after_commit(self) -> None:
        """Take a checkpoint if the write-ahead log is large."""
        if self._written() >= _LARGE:
            self.take(quiet=False)

    def take(self, *, quiet: bool) -> None:
        """Take a checkpoint, and merge what earlier ones left if it is ``quiet``; leave it until more has been written where something else is being written."""
        self._connection.execute(_MERGING if quiet else _SYNCED)
        try:
            self._connection.execute("CHECKPOINT").fetchall()
            self._unmerged, self._counted_from = not quiet, 0
        except duckdb.TransactionException as error:
            self._counted_from = self._size()
            _log.warning("no checkpoint now; it is tried again later", bytes=self._counted_from, reason=str(error))
        finally:
            self._connection.execute(_ON_ITS_OWN)

    def sync(self) -> None:
        """Let what DuckDB writes from now on be on disk before it goes on."""
        self._connection.execute(_SYNCED)

    def _written(self) -> int:
        return self._size() - self._counted_from

    def _size(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0
