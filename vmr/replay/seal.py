"""The seal of a run: when it has ended, its record is folded once more, and the hashes of what comes out are recorded.

`vmr replay --verify` compares with it, however much later, in whichever database or archive the run is by then.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import duckdb
import structlog

from vmr.errors import VmrError
from vmr.events import ExperimentSealed, Recorded, SealedEvents
from vmr.log import AsyncLog
from vmr.projector import Projector, whole
from vmr.replay.hashes import counted_from_one, hashes_of, overall

_BATCH: Final = 20_000
_MOST_SECONDS: Final = 60.0

logger = structlog.get_logger(__name__)


async def seal(log: AsyncLog, begin: int) -> ExperimentSealed:
    """Record the seal of the run that begins at the sequence ``begin``, over everything of it that is recorded now; return it."""
    last = await log.last_sequence()
    with tempfile.TemporaryDirectory(prefix="vmr-seal-") as folder:
        projector = await asyncio.to_thread(Projector, Path(folder) / "run.duckdb")
        try:
            await _fold(log, projector, begin, last)
            hashes = await asyncio.to_thread(hashes_of, projector.reader())
        finally:
            await asyncio.to_thread(projector.close)
    sealed = ExperimentSealed(events=SealedEvents(begin, last), projections=hashes, sha256=overall(hashes))
    await log.publish(sealed)
    return sealed


async def try_to_seal(log: AsyncLog, begin: int) -> bool:
    """Seal the run that begins at ``begin`` if that can be done within a minute; say so where it cannot, and return whether it is.

    A run without a seal is as good as any other: it cannot be compared with what it was when it ended.
    """
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            await seal(log, begin)
    except (VmrError, duckdb.Error, OSError, TimeoutError) as error:
        reason = str(error) or f"it took longer than {_MOST_SECONDS:g} s"
        logger.warning("the record of the run could not be sealed", reason=reason)
        return False
    return True


async def _fold(log: AsyncLog, projector: Projector, first: int, last: int) -> None:
    """Fold the run's events; while some are being folded, the next ones are read."""
    folding: asyncio.Future[int] | None = None
    try:
        async with aclosing(_large(log.read(start=first, stop=last))) as batches:
            async for batch in batches:
                ready = counted_from_one([await whole(log, recorded) for recorded in batch], first)
                if folding is not None:
                    await folding
                folding = asyncio.ensure_future(asyncio.to_thread(projector.apply, ready))
    finally:
        if folding is not None:
            await asyncio.wait({folding})
    if folding is not None:
        folding.result()


async def _large(batches: AsyncGenerator[list[Recorded], None]) -> AsyncGenerator[list[Recorded], None]:
    """Yield the events of ``batches`` in larger ones: a fold costs by the statement, not by the event."""
    gathered: list[Recorded] = []
    async with aclosing(batches):
        async for batch in batches:
            gathered += batch
            if len(gathered) >= _BATCH:
                yield gathered
                gathered = []
    if gathered:
        yield gathered
