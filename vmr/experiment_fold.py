"""Launch and start of the current run, and when its VMs were last cleared: a caller's own fold of the experiment's events.

These events are few, and callers ask for them in loops. So each question looks at the last event on their subjects (one round trip);
only when there is a new one are the events since the last question read. What is answered is never older than what any process's
finished call wrote.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from vmr.errors import ConflictError
from vmr.events import ExperimentCleared, ExperimentLaunched, ExperimentStarted, KnownBody, Recorded
from vmr.log import AsyncLog, last_events
from vmr.subjects import entity_subject
from vmr.vm_state import ExperimentState

_MOST_CONFLICTS: Final = 20
_FOLDED: Final[tuple[type[KnownBody], ...]] = (ExperimentCleared, ExperimentLaunched, ExperimentStarted)


def experiment_subject(db: str, body: type[KnownBody]) -> str:
    """Return the subject of one type of event about the experiment of ``db``."""
    return entity_subject(db, "experiment", None, body.type_name().partition(".")[2])


class ExperimentFold:
    """The fold of one connection. Its methods are called on the connection's loop.

    Attributes:
        state: launch and start.
        vms_cleared: sequence of the last event that cleared the VMs; 0 before the first.
        last_started: sequence of the last report of a start, whichever run's; 0 before the first.

    """

    def __init__(self) -> None:
        self.state = ExperimentState()
        self.vms_cleared = 0
        self.last_started = 0
        self._folded = 0
        self._reading = asyncio.Lock()
        self._reporting = asyncio.Lock()

    async def read(self, log: AsyncLog) -> ExperimentState:
        """Return launch and start as they are now."""
        lasts = await last_events(log, [experiment_subject(log.db, body) for body in _FOLDED])
        await self.reach(log, max((last.sequence for last in lasts if last is not None), default=0))
        return self.state

    async def reach(self, log: AsyncLog, sequence: int) -> None:
        """Fold every event up to ``sequence``."""
        if sequence <= self._folded:
            return
        async with self._reading:
            filters = [experiment_subject(log.db, body) for body in _FOLDED]
            async for batch in log.read(filters, self._folded + 1, sequence):
                for recorded in batch:
                    self._apply(recorded)
            self._folded = max(self._folded, sequence)

    def _apply(self, recorded: Recorded) -> None:
        self.state.apply(recorded)
        body = recorded.event.body
        if isinstance(body, ExperimentCleared) and "vms" in body.scope:
            self.vms_cleared = recorded.sequence
        if isinstance(body, ExperimentStarted):
            self.last_started = recorded.sequence
        self._folded = recorded.sequence

    async def report_start(self, log: AsyncLog, buffer: float) -> datetime:
        """Return the start; when there is none, report one ``buffer`` seconds from now. The first report in the log wins.

        Raises `ConflictError` when starts are reported and cleared by others again and again meanwhile.
        """
        async with self._reporting:  # one report of this process at a time: the others find it in the log
            for _ in range(_MOST_CONFLICTS):
                start = (await self.read(log)).start
                if start is not None:
                    return start
                wanted = (datetime.now(UTC) + timedelta(seconds=buffer)).replace(microsecond=0)
                try:
                    await log.publish_expecting(ExperimentStarted(start_time=wanted), self.last_started)
                except ConflictError:
                    continue  # somebody else's report came first: read it
        raise ConflictError(
            "starts are reported and cleared again and again: is another experiment using this database?"
        )
