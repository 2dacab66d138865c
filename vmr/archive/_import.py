"""Putting an archive back into a server: sequences, times, subjects and bytes as they were.

The stream is made to begin at the archive's first sequence, or ends where that begins. The server stamps its own time on what it
stores, so each message carries the time of the original in a header, which every reader of vmr's honours.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

from vmr.archive._manifest import Manifest
from vmr.archive._read import Archive, Tell, open_archive
from vmr.archive._verify import verify_archive
from vmr.errors import ConflictError, DamagedArchiveError, InvalidInputError, PublishError, VmrError
from vmr.log import AsyncLog
from vmr.log._connection import Connection
from vmr.log._feed import Feed
from vmr.log._stream import FIRST_RUN, StreamInfo, definition, stream_info
from vmr.log._wire import Address
from vmr.log._writer import Outgoing
from vmr.messages import Raw
from vmr.settings import Settings
from vmr.subjects import ROOT, stream_name

Say = Callable[[str], None]

_BATCH: Final = 1000
_BATCH_BYTES: Final = 2 * 1024 * 1024


async def import_archive(
    settings: Settings, path: Path, *, tell: Tell | None = None, say: Say | None = None
) -> Manifest:
    """Record everything that is in the archive at ``path`` in the database of ``settings``, and return the archive's manifest.

    The database is new or empty, or its last event is the one before the archive's first, or it holds the beginning of the archive
    from an import that was interrupted, which then goes on. Raises `InvalidInputError` for any other database, `DamagedArchiveError`
    for an archive that is not whole (in both cases nothing is recorded), and `PublishError`, which says how far it came.
    """
    tell, say = tell or (lambda _done, _of: None), say or (lambda _text: None)
    say("checking the archive")
    verdict = verify_archive(path, tell=tell)
    if not verdict.whole:
        raise DamagedArchiveError(str(verdict))
    with open_archive(path) as archive:
        async with server_connection(settings) as connection:
            await _prepare(connection, settings.db, archive.manifest)
        async with await AsyncLog.connect(settings, create=False) as log:
            say("comparing what is there already")
            first = await _first_missing(log, archive)
            say("objects")
            await _put_objects(log, archive, tell)
            say("events")
            await _publish(log, archive, first, tell)
        return archive.manifest


@asynccontextmanager
async def server_connection(settings: Settings) -> AsyncGenerator[Connection, None]:
    """Yield a connection to the server of ``settings``, whatever streams it has."""
    connection = await Connection.open(Address.from_settings(settings), name="vmr archive import")
    try:
        yield connection
    finally:
        await connection.close()


async def _prepare(connection: Connection, db: str, manifest: Manifest) -> None:
    """Have a stream that the archive's events can follow in; raise `InvalidInputError` when there is another."""
    name = stream_name(db)
    info = await stream_info(connection, name)
    if info is not None and info.state.messages == 0 and info.state.last_seq == 0 and manifest.first > 1:
        # Nothing was ever in it: it is made anew, to begin elsewhere.
        await connection.api(f"STREAM.DELETE.{name}", answer=dict)
        info = None
    if info is None:
        await _create(connection, db, manifest)
    elif not _may_follow(info, manifest):
        held = f"{info.state.first_seq:,} to {info.state.last_seq:,}"
        raise InvalidInputError(
            f"database {db!r} holds the events {held}, and the archive those from {manifest.first:,} to {manifest.last:,}, which do not "
            "follow: import it into a new database (--db NAME)"
        )


def _may_follow(info: StreamInfo, manifest: Manifest) -> bool:
    next_one = info.state.last_seq + 1
    return info.state.first_seq <= manifest.first <= next_one <= manifest.last + 1


async def _create(connection: Connection, db: str, manifest: Manifest) -> None:
    config = definition("stream.json", db)
    if manifest.first > 1:
        config |= {"first_seq": manifest.first, "metadata": config["metadata"] | {FIRST_RUN: str(manifest.run)}}
    await connection.api(f"STREAM.CREATE.{config['name']}", config, answer=StreamInfo)


async def _first_missing(log: AsyncLog, archive: Archive) -> int:
    """Return the sequence of the first event that is not in ``log`` yet; raise `InvalidInputError` when one that is, is another."""
    last = await log.last_sequence()
    if last < archive.manifest.first:
        return archive.manifest.first
    different = await first_difference(log, archive, archive.manifest.first, last)
    if different is not None:
        raise InvalidInputError(
            f"database {log.db!r} holds another event {different:,} than the archive: import it into a new database (--db NAME)"
        )
    return last + 1


async def first_difference(log: AsyncLog, archive: Archive, first: int, last: int) -> int | None:
    """Return the sequence of the first event from ``first`` to ``last`` that ``log`` and ``archive`` do not hold alike; None for none."""
    kept = (raw for batch in archive.raw(first, last) for raw in batch)
    feed = Feed(log.connection, stream_name(log.db), None, first)
    expected = first
    async with aclosing(feed.batches(stop=last)) as batches:
        async for batch in batches:
            for raw in batch:
                if _content(raw) != _content(next(kept)):
                    return expected
                expected += 1
    return None if expected == last + 1 else expected


def _content(raw: Raw) -> tuple[int, int, str, bytes]:
    return raw.sequence, raw.stored, raw.subject.split(".", 2)[-1], raw.data


async def _put_objects(log: AsyncLog, archive: Archive, tell: Tell) -> None:
    objects = archive.objects
    with tempfile.TemporaryDirectory(prefix="vmr-import-") as folder:
        for done, ref in enumerate(objects, 1):
            path = Path(folder) / ref.sha256
            archive.extract_object(ref.sha256, path)
            await log.put_object(path)
            path.unlink()
            tell(done, len(objects))


async def _publish(log: AsyncLog, archive: Archive, first: int, tell: Tell) -> None:
    manifest = archive.manifest
    done = first - 1
    try:
        for batch in _batches(archive, first):
            await log.publish_copies([_copy(log.db, raw, place) for place, raw in enumerate(batch)])
            done = batch[-1].sequence
            tell(done - manifest.first + 1, manifest.events)
    except ConflictError as error:
        raise PublishError(
            f"somebody else writes to database {log.db!r} meanwhile, after event {done:,}; when nobody does, the same command goes on"
        ) from error
    except VmrError as error:
        raise PublishError(
            f"{error}; the events up to {done:,} are in database {log.db!r}, and the same command goes on from there"
        ) from error


def _batches(archive: Archive, first: int) -> Iterator[list[Raw]]:
    waiting: list[Raw] = []
    size = 0
    if first > archive.manifest.last:
        return
    for found in archive.raw(first):
        for raw in found:
            if waiting and (len(waiting) == _BATCH or size + len(raw.data) > _BATCH_BYTES):
                yield waiting
                waiting, size = [], 0
            waiting.append(raw)
            size += len(raw.data)
    yield waiting


def _copy(db: str, raw: Raw, place: int) -> Outgoing:
    # The sequence makes the message's id its own: a log may hold an event twice, and so does its copy.
    return Outgoing(
        subject=f"{ROOT}.{db}.{raw.subject.split('.', 2)[-1]}",
        payload=raw.data,
        id=f"import+{raw.sequence}",
        stored=raw.stored,
        after=raw.sequence - 1 if place == 0 else None,
    )
