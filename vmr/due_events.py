"""Which events of a schedule's queue are due. Pure, apart from taking them out of the queue."""

from __future__ import annotations

import math
import queue
from typing import TypeAlias

from vmr.schedule_event import ScheduleEvent

Item: TypeAlias = tuple[float, ScheduleEvent]


def take_due(events: queue.PriorityQueue[Item], elapsed: float) -> list[ScheduleEvent]:
    """Take what is due out of the queue, in order; the caller holds the queue's condition.

    Up to time 0, that is all of the earliest time there is; then everything up to ``elapsed``, in seconds since the
    start of the experiment (``-inf`` before it is known).
    """
    if not events.queue:
        return []
    first = float(events.queue[0][0])
    bound = first if first <= 0 else elapsed
    due = []
    while events.queue and float(events.queue[0][0]) <= bound:
        due.append(events.get_nowait()[1])
        events.task_done()
    return due


def seconds_until_due(events: queue.PriorityQueue[Item], elapsed: float) -> float | None:
    """Return the seconds until something in the queue is due; None when only a change of the queue can tell."""
    if not events.queue or elapsed == -math.inf:
        return None
    left = float(events.queue[0][0]) - elapsed
    return None if left == math.inf else max(left, 0.0)
