"""How the projector follows a log that it is slower than: what comes while it folds is folded at once, and nothing is left out."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.readmodel.recorded_run import recorded_run
from vmr import projector
from vmr.cursor import CursorWatch
from vmr.errors import DataError
from vmr.events import Recorded
from vmr.projector import Projector, run_projector
from vmr.schedule import ObjectRef

HISTORY = recorded_run()


class _Slow(Projector):
    """A projector whose folds wait until they may end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.sizes = list[int]()

    def apply(self, batch: Sequence[Recorded]) -> int:
        self.sizes.append(len(batch))
        self.begun.release()
        self.may_end.acquire()
        return super().apply(batch)


class _Singles:
    """Gives events one by one, as soon as they are asked for, up to one; then fails, or waits for ever.

    ``near`` is set when the event ``told`` is given.
    """

    def __init__(self, last: int, told: int, *, fails: bool = False) -> None:
        self.last, self.told, self.fails = last, told, fails
        self.given, self.near = 0, asyncio.Event()

    async def follow(self, *, start: int) -> AsyncIterator[list[Recorded]]:
        for recorded in HISTORY[start - 1 : self.last]:
            self.given = recorded.sequence
            if self.given == self.told:
                self.near.set()
            yield [recorded]
            await asyncio.sleep(0)
        if self.fails:
            raise DataError("the log is damaged")
        await asyncio.Event().wait()

    async def get_object(self, ref: ObjectRef) -> bytes:
        raise NotImplementedError(ref)


@contextlib.asynccontextmanager
async def _following(source: _Singles) -> AsyncIterator[tuple[_Slow, CursorWatch, asyncio.Task[None]]]:
    """Run a projector, yield when it is in its first fold, and end it."""
    following, watch = _Slow(), CursorWatch()
    task = asyncio.create_task(run_projector(source, following, watch))
    try:
        await asyncio.to_thread(following.begun.acquire)
        await asyncio.wait_for(source.near.wait(), 10)
        await asyncio.sleep(0.05)  # real time, for what must not come
        yield following, watch, task
    finally:
        following.may_end.release(100)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        following.close()


async def test_what_comes_during_a_fold_is_one_batch() -> None:
    """An event waits for the end of the fold under way, and for its own: not for that of every event before it."""
    async with _following(_Singles(9, 9)) as (following, watch, _):
        following.may_end.release(2)
        assert await watch.reached(9, within=10)
        assert following.sizes == [1, 8]


async def test_so_many_gather_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A projector that is far behind holds no more of the log than a few thousand events."""
    monkeypatch.setattr(projector, "_GATHERED", 4)
    source = _Singles(20, 6)
    async with _following(source) as (following, watch, _):
        assert source.given == 6, "one is being folded, four gather, and one has come already"
        following.may_end.release(20)
        assert await watch.reached(20, within=10)
        assert max(following.sizes) <= 5
        assert sum(following.sizes) == 20


async def test_what_came_before_a_failure_is_folded() -> None:
    """What is wrong with the log is told when everything before it is in the read model."""
    async with _following(_Singles(9, 9, fails=True)) as (following, _, task):
        following.may_end.release(2)
        with pytest.raises(DataError, match="damaged"):
            await asyncio.wait_for(task, 10)
        assert following.cursor == 9
