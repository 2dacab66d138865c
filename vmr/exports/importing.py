"""CloudEvents that vmr has exported, into a database of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vmr.errors import ConflictError, InvalidInputError
from vmr.events import Recorded
from vmr.exports.cloudevents import read
from vmr.exports.target import Tell
from vmr.log import connect_async
from vmr.settings import Settings

_BATCH: Final = 5000


async def import_events(settings: Settings, path: Path, *, tell: Tell) -> int:
    """Record the events in the file ``path``, byte for byte and in their order, in the empty database of ``settings``; return how many.

    They are numbered from 1 on, and keep the times at which they were stored. Raises `InvalidInputError` where the file is wrong or the database holds something:
    then nothing is recorded; and `ConflictError` when somebody else writes there meanwhile.
    """
    of = sum(1 for _ in _events(path))
    if of == 0:
        raise InvalidInputError(f"{path}: there are no events in it")
    done = 0
    async with connect_async(settings=settings) as log:
        if last := await log.last_sequence():
            raise InvalidInputError(f"database {log.db!r} holds {last:,} events already: give the name of a new one")
        for batch in _batches(_events(path)):
            if await log.publish_recorded(batch) != list(range(done + 1, done + 1 + len(batch))):
                raise ConflictError(f"somebody else writes to database {log.db!r} meanwhile: import into a new one")
            done += len(batch)
            tell(done, of)
    return done


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
