"""What people ask, answered from a read model's file while neither server nor projector runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import duckdb

from vmr import asking, sql_guard
from vmr.answers import fraction_done, recover, show_progress
from vmr.errors import DataError, QueryError
from vmr.past import Past
from vmr.query import Answer, AsOf

_INTERRUPT_PAUSE: Final = 0.05


class OfflineReader:
    """Questions to a read model's file while no server and no projector runs: the same fences, the same answers."""

    def __init__(self, path: Path, files: Sequence[Path] = ()) -> None:
        """Open the read model at ``path``, and let it read ``files``, which its tables are views of."""
        # The file is attached, for reading, to a database in memory: a database for reading has no room for moments.
        self._connection = duckdb.connect()
        quoted = str(path).replace("'", "''")
        try:
            self._connection.execute(f"ATTACH '{quoted}' AS record (READ_ONLY); USE record.main")
        except duckdb.Error as error:
            self._connection.close()
            raise DataError(f"read model {path} cannot be opened for reading: {error}") from error
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self._past = Past(self._connection)
        self._interrupted = False
        show_progress(self._connection)
        if files:
            self._connection.execute("SET allowed_paths = ?", [[str(file) for file in files]])
        sql_guard.lock_down(self._connection)

    def sql(
        self, sql: str, params: dict[str, Any] | None = None, *, limit: int = sql_guard.MOST_ROWS, timeout: float = 60.0
    ) -> Answer:
        """Return the answer of ``sql``; raise `QueryError` when it is refused or takes longer than ``timeout`` seconds."""
        return self.ask(asking.SQL, {"sql": sql, "limit": limit, "values": params}, timeout=timeout)

    def ask(self, name: str, params: Mapping[str, Any], *, timeout: float = 60.0, as_of: AsOf | None = None) -> Answer:
        """Return the answer of the question ``name``, as it was at ``as_of``; raise `QueryError` when there is none within ``timeout`` seconds."""
        late, done = threading.Event(), threading.Event()
        timer = threading.Timer(timeout, self._stop, (late, done))
        timer.start()
        try:
            return self._answer(name, params, as_of)
        except (QueryError, duckdb.InterruptException) as error:
            if late.is_set():
                raise QueryError(
                    f"the answer took longer than {timeout:g} s: ask for less, or allow more time"
                ) from error
            if isinstance(error, duckdb.Error):
                raise QueryError(str(error)) from error
            raise
        finally:
            done.set()
            timer.cancel()
            timer.join()
            if self._interrupted or late.is_set():
                recover(self._connection, "record.main")
                self._interrupted = False

    def _answer(self, name: str, params: Mapping[str, Any], as_of: AsOf | None) -> Answer:
        if as_of is not None:
            return asking.answer_past(self._past, self._connection, name, params, as_of)
        return asking.answer(self._connection, name, params)

    def _stop(self, late: threading.Event, done: threading.Event) -> None:
        late.set()
        pause = _INTERRUPT_PAUSE
        while not done.wait(pause):
            # Between two statements nobody hears it, so it is said again, ever less often.
            self.interrupt()
            pause *= 2

    def interrupt(self) -> None:
        """Stop the statement that another thread waits for in `ask`, which then raises `QueryError`; between two statements nobody hears it."""
        self._interrupted = True
        self._connection.interrupt()

    def progress(self) -> float | None:
        """Return how far the statement that another thread waits for is, from 0 to 1, or None where DuckDB does not know."""
        return fraction_done(self._connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_offline(path: Path | str) -> OfflineReader:
    """Open the read model at ``path`` for reading; raise `DataError` when it is not there, in use, or not a read model."""
    found = Path(path)
    if not found.is_file():
        raise DataError(f"no read model at {found}: nothing has been recorded there yet; `vmr up` makes one")
    return OfflineReader(found)
