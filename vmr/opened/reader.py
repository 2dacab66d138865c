"""`Reader`: questions to an archive, or to the file of a read model, as to a database that runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vmr.errors import InvalidInputError
from vmr.offline import OfflineReader
from vmr.opened.build import Tell
from vmr.opened.cache import Opened, opened
from vmr.query import Answer, AsOf
from vmr.record import connect
from vmr.replay.events_of import Events, Types
from vmr.replay.events_of import events_of as _events_of

_SECONDS: Final = 600.0
_DUCKDB: Final = b"DUCK"
_MARK_AT: Final = 8


class Reader(OfflineReader):
    """An opened archive, or read model's file: what `vmr.connect` can be asked, `sql` and `events`. Use it with ``with``.

    Attributes:
        path: the file that was opened.

    """

    def __init__(self, path: Path, *, cache: bool = True, tell: Tell | None = None) -> None:
        self.path = path
        with contextlib.ExitStack() as stack:
            found: Opened | None = None
            if is_read_model(path):
                connect(path).close()  # which says so when it is another program's
            else:
                found = stack.enter_context(opened(path, cache=cache, tell=tell))
            super().__init__(path if found is None else found.record, files=() if found is None else found.files)
            self._opened = stack.pop_all()

    def query(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float = _SECONDS,
        as_of: AsOf | None = None,
    ) -> Answer:
        """Return the answer of a query or question by name, or of ``sql``, as `vmr.log.Log.query` does; ``timeout`` in seconds."""
        return self.ask(name, params or {}, timeout=timeout, as_of=as_of)

    def events(
        self,
        *,
        vm: str | None = None,
        types: Types = None,
        since: AsOf | None = None,
        until: AsOf | None = None,
    ) -> Events:
        """Return the events of the last run in the file, filtered as `vmr.events_of` does."""
        return _events_of(self.path, vm=vm, types=types, since=since, until=until)

    def close(self) -> None:
        """Close the file; without a cache, what was made of it is gone."""
        super().close()
        self._opened.close()


def is_read_model(path: Path) -> bool:
    """Return whether the file at ``path`` is a DuckDB database; raise `InvalidInputError` when there is none to be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MARK_AT + len(_DUCKDB))[_MARK_AT:] == _DUCKDB
    except FileNotFoundError:
        raise InvalidInputError(f"there is no file {path}") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error


def open_reader(path: str | Path, *, cache: bool = True, tell: Tell | None = None) -> Reader:
    """Open an archive (`vmr archive`), or the file of a read model, for questions; no server is needed.

    The first time an archive is unpacked and folded, some seconds for a million events, and kept in the user's cache folder, unless
    ``cache`` is False; ``tell`` is told how that goes. Raises `InvalidInputError` when there is no such file, `DataError` when it is
    neither, or damaged.

    ::

        with vmr.open("run.zip") as run:
            print(run.query("slowest_entries", {"limit": 3}).records())
    """
    return Reader(Path(path), cache=cache, tell=tell)
