"""Archives are taken whole from the log, in constant memory, and on after an interruption."""

from __future__ import annotations

from pathlib import Path

from vmr.archive import open_archive
from vmr.log import AsyncLog
from vmr.log._feed import Feed, Raw


async def messages(log: AsyncLog) -> list[Raw]:
    """Return every message of the log."""
    feed = Feed(log.connection, f"VMR_{log.db}", None, 1)
    return [raw async for batch in feed.batches(stop=await log.last_sequence()) for raw in batch]


async def test_an_archive_has_every_message_as_the_log_had_it(recorded: AsyncLog, archive: Path) -> None:
    """Sequence, time to the nanosecond, subject and bytes; and the events that these say."""
    wanted = [(raw.sequence, raw.stored, raw.subject, raw.data) for raw in await messages(recorded)]
    with open_archive(archive) as opened:
        found = [raw for batch in opened.raw() for raw in batch]
        events = [event for batch in opened.recorded(5, 120) for event in batch]
    assert [(raw.sequence, raw.stored, raw.subject, raw.data) for raw in found] == wanted
    assert events == [event async for batch in recorded.read(start=5, stop=120) for event in batch]
    assert not archive.with_name("run.zip.part").exists()
