"""What a replay shows: how many VMs are in which state, the time of the experiment, the last events. A fold, without I/O."""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime
from typing import Final

from vmr import events
from vmr.events import Recorded

_LAST: Final = 12
FOLDED: Final = tuple(
    body.type_name()
    for body in (
        events.VmAdded,
        events.VmRemoved,
        events.VmStateSet,
        events.ExperimentCleared,
        events.ExperimentLaunched,
        events.ExperimentStarted,
        events.ExperimentEnded,
    )
)
"""The types that a picture is folded from; of the others it shows the last."""


class Picture:
    """The picture after some events.

    Attributes:
        names: of VMs by uuid.
        states: of the VMs that are there, by uuid.
        last: the last events.
        name: of the experiment; empty before it is launched.
        start: of the experiment, None before it is known.
        ended: whether it has ended.
        time: of the last event.

    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.last: deque[Recorded] = deque(maxlen=_LAST)
        self.name = ""
        self.start: datetime | None = None
        self.ended = False
        self.time: datetime | None = None

    def apply(self, recorded: Recorded, *, show: bool = True) -> None:
        """Fold one event; with ``show`` it is one of the last."""
        match recorded.event.body:
            case events.VmAdded(server_uuid=uuid, server_name=name, state=state):
                self.names[uuid], self.states[uuid] = name, state
            case events.VmRemoved(server_uuid=uuid):
                self.states.pop(uuid, None)
            case events.VmStateSet(server_uuid=uuid, state=state) if uuid in self.states:
                self.states[uuid] = state
            case events.ExperimentLaunched(name=name):
                self.name = name
            case events.ExperimentStarted(start_time=start) if self.start is None:
                self.start = start
            case events.ExperimentEnded():
                self.ended = True
            case events.ExperimentCleared(scope=scope):
                self._clear(scope)
            case _:
                pass
        if show:
            self.last.append(recorded)
            self.time = recorded.event.time

    def _clear(self, scope: tuple[str, ...]) -> None:
        if "vms" in scope:
            self.states.clear()
        if "times" in scope:
            self.start, self.ended = None, False

    def counts(self) -> list[tuple[str, int]]:
        """Return how many VMs are in each state, the most frequent first."""
        return sorted(Counter(self.states.values()).items(), key=lambda item: (-item[1], item[0]))

    def seconds(self, at: datetime | None) -> float | None:
        """Return the time ``at`` in seconds of the experiment; None where either is not known."""
        return None if at is None or self.start is None else (at - self.start).total_seconds()

    def who(self, recorded: Recorded) -> str:
        """Return whom an event is about: the VM's name, or what its subject is keyed by."""
        body = recorded.event.body
        if isinstance(body, events.Unknown) or body.KEY is None:
            return ""
        key = str(getattr(body, body.KEY))
        return self.names.get(key, key)
