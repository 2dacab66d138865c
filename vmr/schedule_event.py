"""What a schedule's updater tells the loop that runs it, through a priority queue."""

from __future__ import annotations

import enum
from typing import Any, Self


class ScheduleEventType(enum.Enum):
    """The kinds of schedule events."""

    EXPERIMENT_START_TIME_SET = 0
    EMPTY_SCHEDULE = 1
    NEW_ITEM = 2
    TRANSFER = 3
    EXIT = 4
    PAUSE = 5
    RESUME = 6
    UNKNOWN = 7


class ScheduleEvent:
    """One thing for the loop that runs a VM's schedule to act on.

    Args:
        event_type: what kind of thing.
        data: what it is about: a `vmr.schedule_entry.ScheduleEntry`, the start time in seconds since the epoch, an error, or None.

    """

    def __init__(self, event_type: ScheduleEventType, data: Any) -> None:
        self._type = event_type
        self._data = data

    def __lt__(self, other: object) -> bool:
        """Return True: events do not order themselves. The order of a queue is that of its priorities (see `Priority`)."""
        return True

    def get_data(self) -> Any:
        """Return what the event is about."""
        return self._data

    def get_type(self) -> ScheduleEventType:
        """Return the event's kind."""
        return self._type

    def __repr__(self) -> str:
        return f"ScheduleEvent({self._type}, {self._data!r})"


class Priority(float):
    """A time in a priority queue that comes after an equal time that was put there before it.

    It is the number itself for whoever compares it with a number. Two of them are ordered by time and then by serial, so that a queue
    gives events of one time in the order in which they were put, and gives the same order whenever the same events are put.
    """

    serial: int
    """The place among all priorities of one queue."""

    def __new__(cls, time: float, serial: int) -> Self:
        """Return the priority ``time`` with a place among those that are equal."""
        made = super().__new__(cls, time)
        made.serial = serial
        return made

    def __lt__(self, other: float) -> bool:
        if isinstance(other, Priority):
            return (float(self), self.serial) < (float(other), other.serial)
        return float(self) < other

    def __gt__(self, other: float) -> bool:
        return other < self if isinstance(other, Priority) else float(self) > other

    def __le__(self, other: float) -> bool:
        return not self > other

    def __ge__(self, other: float) -> bool:
        return not self < other

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Priority):
            return float(self) == float(other) and self.serial == other.serial
        return float(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__
