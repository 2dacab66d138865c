"""CloudEvents that vmr has exported, into a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmr.errors import ConflictError, InvalidInputError
from vmr.events import Recorded
from vmr.exports.cloudevents import read, run_of_line
from vmr.log import connect_async
from vmr.log._connection import Connection
from vmr.log._stream import FIRST_RUN, StreamInfo, definition, stream_info
from vmr.log._wire import Address
from vmr.record import Tell
from vmr.settings import Settings
from vmr.subjects import stream_name

_BATCH: Final = 5000


async def import_events(settings: Settings, path: Path, *, tell: Tell) -> int:
    """Record the events in the file ``path`` as they were in the empty database of ``settings``; return how many.

    Bytes, sequences, times of storing and the number of the run stay as they were. Raises `InvalidInputError` where the file is wrong or
    the database holds something: then nothing is recorded; and `ConflictError` when somebody else writes there meanwhile.
    """
    of = sum(1 for _ in _events(path))
    if of == 0:
        raise InvalidInputError(f"{path}: there are no events in it")
    await _make_database(settings, next(_events(path)).sequence, _run(path))
    done = 0
    async with connect_async(settings=settings, create=False) as log:
        for batch in _batches(_events(path)):
            if await log.publish_recorded(batch) != [recorded.sequence for recorded in batch]:
                raise ConflictError(f"somebody else writes to database {log.db!r} meanwhile: import into a new one")
            done += len(batch)
            tell(done, of)
    return done


async def _make_database(settings: Settings, first: int, run: int) -> None:
    """Have an empty stream whose next event has the sequence ``first`` and is of run number ``run``."""
    name = stream_name(settings.db)
    connection = await Connection.open(Address.from_settings(settings), name="vmr import")
    try:
        info = await stream_info(connection, name)
        if info is not None and (info.state.messages or info.state.last_seq + 1 not in {1, first}):
            held = f"{info.state.messages:,} events up to sequence {info.state.last_seq:,}"
            raise InvalidInputError(f"database {settings.db!r} has held {held} already: give the name of a new one")
        if info is not None:
            # Nothing is in it: it is made anew, to begin elsewhere.
            await connection.api(f"STREAM.DELETE.{name}", answer=dict)
        config = definition("stream.json", settings.db)
        if first > 1:
            config |= {"first_seq": first, "metadata": config["metadata"] | {FIRST_RUN: str(run)}}
        await connection.api(f"STREAM.CREATE.{name}", config, answer=StreamInfo)
    finally:
        await connection.close()


def _run(path: Path) -> int:
    """Return the number of the run that the first event is of; 1 where the file does not say."""
    with path.open("rb") as lines:
        return run_of_line(next(line for line in lines if line.strip()))


def _events(path: Path) -> Iterator[Recorded]:
    try:
        with path.open("rb") as lines:
            yield from read(lines, str(path))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error


def _batches(events: Iterator[Recorded]) -> Iterator[list[Recorded]]:
    batch: list[Recorded] = []
    for event in events:
        batch.append(event)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
