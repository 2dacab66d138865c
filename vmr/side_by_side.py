"""The same work for many items, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

_S = TypeVar("_S")
_T = TypeVar("_T")


async def each(work: Callable[[_S], Coroutine[Any, Any, _T]], items: Iterable[_S], *, at_a_time: int = 16) -> list[_T]:
    """Return what ``work`` makes of each of ``items``, in their order. The first error is raised, and ends what is not done."""
    room = asyncio.Semaphore(at_a_time)

    async def one(item: _S) -> _T:
        async with room:
            return await work(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
