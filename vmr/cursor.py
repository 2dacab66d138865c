"""Waiting for a read model to reach a sequence, without asking it again and again."""

from __future__ import annotations

import asyncio


class CursorWatch:
    """How far a read model has come, and who waits for it to come further. Belongs to one event loop.

    Attributes:
        cursor: sequence of the last event that the read model reflects.
        generation: how often its tables and views were replaced: what was answered of the same cursor before may be of other ones.

    """

    def __init__(self) -> None:
        self.cursor = 0
        self.generation = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def advance(self, cursor: int, generation: int = 0) -> None:
        """Note that the read model has reached ``cursor``, with tables of ``generation``, and wake who waited for it."""
        self.cursor = cursor
        self.generation = generation
        still = []
        for sequence, future in self._waiting:
            if sequence > cursor:
                still.append((sequence, future))
            elif not future.done():
                future.set_result(None)
        self._waiting = still

    async def reached(self, sequence: int, *, within: float) -> bool:
        """Wait until ``sequence`` is reached, for at most ``within`` seconds; return whether it is."""
        if sequence <= self.cursor:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((sequence, future))
        try:
            async with asyncio.timeout(within):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting = [waiting for waiting in self._waiting if waiting[1] is not future]
        return True
