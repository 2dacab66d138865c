"""One run, exported: to a file or folder that is whole when it is there under its name.

Every format has a module of its name beside this one, which reads a read model whose current run is the run in question and streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

import duckdb

from vmr.errors import InvalidInputError, ServerNotFoundError
from vmr.exports import FORMATS
from vmr.exports.sql import quoted
from vmr.log import connect_async
from vmr.new_files import check, writing
from vmr.record import Tell, as_file, connect, is_archive, open_run, run_of
from vmr.settings import Settings

_MEMORY: Final = "2GB"


class Exporter(Protocol):
    """A module that writes one format."""

    def write(self, record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
        """Write the run that ``record`` (see `vmr.record.connect`) holds to ``part``; return what was written, for people."""
        ...


def export_run(
    form: str, source: str | None, settings: Settings, path: Path, *, force: bool = False, tell: Tell | None = None
) -> str:
    """Write the run that ``source`` names (see `vmr.record.open_run`) to ``path`` in the format ``form`` (see `FORMATS`).

    What is at ``path`` already is replaced only with ``force``. ``tell`` is told of the progress. Returns what was written, for people.
    Raises `InvalidInputError` for an unknown format and where ``path`` is taken or cannot be written, and as `open_run` does; ``path``
    is then as it was before.
    """
    _exporter(form)
    check(path, force=force)
    tell = tell or _nobody
    if form == "cloudevents":
        said = _messages(source, settings, path, force, tell)
        if said is not None:
            return said
    with open_run(source, settings, tell=tell) as record:
        return export(form, record, path, force=force, tell=tell)


def export(form: str, record: Path, path: Path, *, force: bool = False, tell: Tell | None = None) -> str:
    """Write the run in the read model's file ``record`` to ``path`` in the format ``form``; otherwise as `export_run`."""
    exporter = _exporter(form)
    with contextlib.closing(connect(record)) as connection, writing(path, force=force) as part:
        # What does not fit into memory goes to disk beside the export, and not into whatever folder the user is in.
        connection.execute(f"SET temp_directory = '{quoted(part.with_name('spill'))}'; SET memory_limit = '{_MEMORY}'")
        return exporter.write(connection, part, tell or _nobody)


def _exporter(form: str) -> Exporter:
    if form not in FORMATS:
        raise InvalidInputError(f"no format {form!r}; there are: {', '.join(FORMATS)}")
    # A format's libraries take long to load, and the others do without them.
    module: Exporter = importlib.import_module(f"vmr.exports.{form}")
    return module


def _messages(source: str | None, settings: Settings, path: Path, force: bool, tell: Tell) -> str | None:  # noqa: FBT001 - as given
    """Write the messages themselves, from an archive or the log; return None where the source has neither, but a read model."""
    file, _ = as_file(source)
    if file is not None and not is_archive(file):
        return None
    with contextlib.suppress(ServerNotFoundError), writing(path, force=force) as part:
        if file is None:
            return asyncio.run(_events_of_log(source, settings, part, tell))
        return _events_of_archive(file, part, tell)
    return None


def _events_of_archive(file: Path, part: Path, tell: Tell) -> str:
    from vmr.archive import open_archive  # noqa: PLC0415 - only for archives
    from vmr.exports.cloudevents import write_events  # noqa: PLC0415 - as above

    with open_archive(file) as archive:
        manifest = archive.manifest
        return write_events(chain.from_iterable(archive.recorded()), manifest.run, manifest.events, part, tell)


async def _events_of_log(source: str | None, settings: Settings, part: Path, tell: Tell) -> str:
    from vmr.exports.cloudevents import to_line  # noqa: PLC0415 - as above

    async with connect_async(settings=settings, create=False) as log:
        run = await run_of(log, source)
        of = run.last_seq - run.first_seq + 1
        with part.open("wb") as file:
            async for batch in log.read(start=run.first_seq, stop=run.last_seq):
                await asyncio.to_thread(file.writelines, (to_line(recorded, run.run) for recorded in batch))
                tell(batch[-1].sequence - run.first_seq + 1, of)
    return f"{of:,} events"


def _nobody(done: int, of: int) -> None:
    """Be told, and do nothing."""
