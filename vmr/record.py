"""A run of the record as one file: whatever the record lies in, a read model whose current run is the one that is asked for.

What looks at one run (reports, comparisons, exports) is written against such a file, and knows neither servers nor archives.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from vmr import read_model
from vmr.errors import DataError, InvalidInputError, ServerNotFoundError
from vmr.folding import fold_all
from vmr.log import AsyncLog, connect_async
from vmr.projections import load_projections
from vmr.projector import Projector, fold_log
from vmr.settings import Settings
from vmr.sql_service import READ_MODEL

Tell = Callable[[int, int], None]
"""Is told how many events are done, of how many."""

_ARCHIVE: Final = b"PK"


class Run(msgspec.Struct, frozen=True):
    """A run, as the query ``runs`` lists it.

    Attributes:
        run: its number.
        name: of its experiment; None before it was launched.
        first_seq: sequence of its first event.
        last_seq: sequence of its last event.

    """

    run: int
    name: str | None
    first_seq: int
    last_seq: int


@contextlib.contextmanager
def open_run(source: str | None, settings: Settings, *, tell: Tell | None = None) -> Iterator[Path]:
    """Yield a read model's file whose current run, its only one, is the one that ``source`` names.

    ``source`` is an archive or the file of a read model (``FILE``, or ``FILE#2`` for run 2 of it), or, of the database of ``settings``,
    the number of a run, an experiment's name (its last run), or None for the current run. The file may be gone when the block ends. Raises
    `InvalidInputError` when there is no such run, `DataError` for a file that is no record, `LogUnavailableError` when there is none.
    """
    file, number = as_file(source)
    with tempfile.TemporaryDirectory(prefix="vmr-run-") as folder:
        part = Path(folder) / "run.duckdb"
        if file is not None and is_archive(file):
            from vmr.opened import opened  # noqa: PLC0415 - only for archives

            with opened(file) as found:
                yield _from_file(found.record, number, part, tell)
            return
        if file is not None:
            yield _from_file(file, number, part, tell)
            return
        try:
            asyncio.run(_from_log(source, settings, part, tell))
            yield part
        except ServerNotFoundError:
            record = settings.database_dir / READ_MODEL
            if not settings.embedded or not record.is_file():
                raise
            yield _from_file(record, source, part, tell)


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection that reads the read model at ``path``, as database ``record``; times are shown in UTC.

    For SQL of vmr's own: it is not fenced (see `vmr.offline` for what people type). Raises `DataError` when it cannot be read.
    """
    connection = duckdb.connect()
    try:
        connection.execute(f"ATTACH '{_quoted(path)}' AS record (READ_ONLY); USE record.main; SET TimeZone = 'UTC'")
        connection.execute("SELECT run FROM current_run").fetchall()
    except duckdb.Error as error:
        connection.close()
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} is no record of vmr that can be read: {reason}") from error
    return connection


def pick(runs: Sequence[Run], wanted: str | None) -> Run:
    """Return the run of this number, or the last of this name, or the last of all; raise `InvalidInputError` when there is none."""
    found = [one for one in runs if wanted in (None, str(one.run), one.name)]
    if found:
        return found[-1]
    if not runs:
        raise InvalidInputError("nothing has been recorded yet: there is no run")
    known = ", ".join(f"{one.run} ({one.name})" if one.name else str(one.run) for one in runs[-10:])
    raise InvalidInputError(f"there is no run {wanted!r}, and no such file; the runs are: {known}")


def is_archive(file: Path) -> bool:
    """Return whether ``file`` begins as an archive does, and not as the file of a read model."""
    try:
        with file.open("rb") as opened_file:
            return opened_file.read(len(_ARCHIVE)) == _ARCHIVE
    except OSError as error:
        raise InvalidInputError(f"{file}: cannot be read: {error.strerror}") from error


def as_file(source: str | None) -> tuple[Path | None, str | None]:
    """Return the file that ``source`` names, and the run in it; no file where it names a run of the database."""
    if source is None:
        return None, None
    file, mark, number = source.rpartition("#")
    if mark and Path(file).is_file():
        return Path(file), number
    if Path(source).is_file():
        return Path(source), None
    if "/" in source or source.endswith((".duckdb", ".zip")):
        raise InvalidInputError(f"there is no file {source}")
    return None, source


def _from_file(file: Path, wanted: str | None, part: Path, tell: Tell | None) -> Path:
    with contextlib.closing(connect(file)) as connection:
        rows = connection.execute("SELECT run, name, first_seq, last_seq FROM runs ORDER BY run").fetchall()
        runs = [Run(*row) for row in rows]
        chosen = pick(runs, wanted)
        if len(runs) == 1:
            return file
    with contextlib.closing(_begin(part, chosen)) as connection:
        connection.execute(f"ATTACH '{_quoted(file)}' AS record (READ_ONLY)")
        connection.execute("INSERT INTO events SELECT * FROM record.events WHERE run = ? ORDER BY seq", [chosen.run])
        connection.execute("DETACH record")
        projections = load_projections()
        fold_all(connection, projections, chosen.first_seq, chosen.last_seq, tell=_telling(chosen, tell))
    return part


def _begin(part: Path, run: Run) -> duckdb.DuckDBPyConnection:
    connection = read_model.open_database(part, threads=2)
    read_model.prepare(connection, load_projections())
    connection.execute("UPDATE log_cursor SET seq = ?, run = ?", [run.first_seq - 1, run.run])
    return connection


def _telling(run: Run, tell: Tell | None) -> Callable[[int], None] | None:
    """Return what is told the sequence that has been reached, and tells how many events of the run that is."""
    if tell is None:
        return None
    return lambda reached: tell(reached - run.first_seq + 1, run.last_seq - run.first_seq + 1)


async def _from_log(wanted: str | None, settings: Settings, part: Path, tell: Tell | None) -> None:
    async with connect_async(settings=settings, create=False) as log:
        run = await run_of(log, wanted)
        with contextlib.closing(Projector(part)) as projector:
            projector.begin(run.first_seq, run.run)
            await fold_log(projector, log, run.last_seq, _telling(run, tell))


async def run_of(log: AsyncLog, wanted: str | None) -> Run:
    """Return the run of ``log`` that ``wanted`` names (see `pick`), up to what is recorded now."""
    answer = await log.query("runs", after=await log.last_sequence(), timeout=60.0)
    return pick(answer.rows_as(Run), wanted)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
