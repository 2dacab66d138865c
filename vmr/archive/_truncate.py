"""Removing the beginning of a log, after what is removed has been proven to be in archives.

The log's stream denies purging and deleting, for good: no server lets an existing stream be changed so that they are allowed. What a
server does allow is a limit on the number of messages, with the oldest giving way. While that is set nothing may be published, or the
newest would push out events that are to stay. So the stream's subject is taken away first: whoever publishes meanwhile is not
answered and tries again, and nobody's event is lost. Then the limit removes exactly the beginning, and the stream gets its own
definition back. That takes some milliseconds.

Metadata of the stream says what is going on. A crash in between leaves a stream that nobody can publish to, and nobody opens as a log
(they are told why); the next call finishes the work, with the sequence that the first had proven.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from vmr.archive._import import first_difference, server_connection
from vmr.archive._manifest import Manifest
from vmr.archive._read import Archive, Tell, open_archive
from vmr.archive._verify import verify_archive
from vmr.errors import DamagedArchiveError, DataError, InvalidInputError, LogUnavailableError
from vmr.log import AsyncLog
from vmr.log._connection import Connection
from vmr.log._stream import FIRST_RUN, TRUNCATING, StreamInfo, stream_info
from vmr.settings import Settings
from vmr.subjects import all_events, stream_name

Say = Callable[[str], None]

_SETTLE_SECONDS: Final = 0.25


class Truncated(msgspec.Struct, frozen=True):
    """What was removed from a log.

    Attributes:
        first: sequence of the first event that is left.
        run: number of its run.
        removed: how many events were removed.

    """

    first: int
    run: int
    removed: int


async def truncate_log(
    settings: Settings,
    before: str,
    archives: Sequence[Path],
    *,
    tell: Tell | None = None,
    say: Say | None = None,
) -> Truncated:
    """Remove every event before the run ``before`` (a number, a name) from the log of ``settings``.

    ``archives`` must hold all of them: each is verified, and compared with the log message by message. Raises `InvalidInputError` when
    they do not hold them or there is nothing to remove, `DamagedArchiveError` for an archive that is not whole, and
    `LogUnavailableError`. Until all is proven nothing is changed. A call after one that was interrupted in the removal finishes that.
    """
    tell, say = tell or (lambda _done, _of: None), say or (lambda _text: None)
    async with server_connection(settings) as connection:
        info = await _stream(connection, settings.db)
        if not info.truncating:
            run, first = await _proven(settings, before, archives, tell, say)
            say("removing")
            info = await _close(connection, settings.db, run, first)
        return await _cut(connection, settings.db, info)


async def _stream(connection: Connection, db: str) -> StreamInfo:
    info = await stream_info(connection, stream_name(db))
    if info is None:
        raise LogUnavailableError(f"the server at {connection.address} has no database {db!r}: check VMR_DB")
    return info


async def _proven(settings: Settings, before: str, archives: Sequence[Path], tell: Tell, say: Say) -> tuple[int, int]:
    """Return number and first sequence of the run ``before``, when all that is before it is in ``archives``."""
    from vmr.record import run_of  # noqa: PLC0415 - records are read from archives, too

    async with await AsyncLog.connect(settings, create=False) as log:
        run = await run_of(log, before)
        begins, _ = await log.beginning()
        if run.first_seq <= begins:
            raise InvalidInputError(
                f"run {run.run} begins with event {run.first_seq:,}, and the log has none before it"
            )
        whole = [_verified(path, tell, say) for path in archives]
        covered = begins
        for manifest, path in sorted(whole, key=lambda one: one[0].first):
            if manifest.first <= covered <= manifest.last:
                say(f"comparing {path.name} with the log")
                last = min(manifest.last, run.first_seq - 1)
                with open_archive(path) as archive:
                    await _check_same(log, archive, covered, last)
                covered = last + 1
        if covered < run.first_seq:
            raise InvalidInputError(
                f"event {covered:,} is in none of the archives, and is before run {run.run}: archive the run that it is of "
                "(`vmr archive RUN -o FILE`) and name all archives (--archive FILE)"
            )
    return run.run, run.first_seq


def _verified(path: Path, tell: Tell, say: Say) -> tuple[Manifest, Path]:
    say(f"checking {path.name}")
    verdict = verify_archive(path, tell=tell)
    if not verdict.whole:
        raise DamagedArchiveError(f"nothing was removed: {verdict}")
    with open_archive(path) as archive:
        return archive.manifest, path


async def _check_same(log: AsyncLog, archive: Archive, first: int, last: int) -> None:
    different = await first_difference(log, archive, first, last)
    if different is not None:
        raise InvalidInputError(
            f"nothing was removed: event {different:,} of {archive.path} is another than the log's: it is of another record"
        )


async def _close(connection: Connection, db: str, run: int, first: int) -> StreamInfo:
    """Let nobody publish to the stream, and remember in it what is to be done."""
    info = await _stream(connection, db)
    metadata = _own(info) | {TRUNCATING: str(first), FIRST_RUN: str(run)}
    closed = info.config | {"subjects": [f"vmr-closed.{db}"], "metadata": metadata}
    return await connection.api(f"STREAM.UPDATE.{stream_name(db)}", closed, answer=StreamInfo)


def _own(info: StreamInfo) -> dict[str, str]:
    """Return the metadata of a stream without what the server says there."""
    return {key: value for key, value in (info.config.get("metadata") or {}).items() if not key.startswith("_nats")}


async def _cut(connection: Connection, db: str, info: StreamInfo) -> Truncated:
    """Remove the beginning of a closed stream, then open it again."""
    first, held = int(info.config["metadata"][TRUNCATING]), info.state.messages
    info = await _settled(connection, db)
    if info.state.first_seq < first <= info.state.last_seq:
        limit: dict[str, Any] = {"discard": "old", "max_msgs": info.state.last_seq - first + 1}
        info = await connection.api(f"STREAM.UPDATE.{stream_name(db)}", info.config | limit, answer=StreamInfo)
    metadata = {key: value for key, value in _own(info).items() if key != TRUNCATING}
    again = {"discard": "new", "max_msgs": -1, "subjects": [all_events(db)], "metadata": metadata}
    info = await connection.api(f"STREAM.UPDATE.{stream_name(db)}", info.config | again, answer=StreamInfo)
    if info.state.first_seq != first:
        raise DataError(f"the log of {db!r} begins with event {info.state.first_seq:,} now, and should with {first:,}")
    return Truncated(first, info.first_run, held - info.state.messages)


async def _settled(connection: Connection, db: str) -> StreamInfo:
    """Return the state of a closed stream once what was on its way into it has arrived."""
    while True:
        info = await _stream(connection, db)
        await asyncio.sleep(_SETTLE_SECONDS)
        if (await _stream(connection, db)).state.last_seq == info.state.last_seq:
            return info
