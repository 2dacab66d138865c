"""A second opinion on the rules of time: one VM's schedule, simulated tick by tick, as slowly and plainly as possible.

It shares nothing with the planner and the timeline. Schedule time is a counter that goes on by one in each tick in which nothing
holds it; there is no arithmetic about the future. The rules, as users know them:

- all entries of one negative time end before the next time begins; those of one time begin together, in the schedule's order;
- after the start, an entry begins when the counter has reached its time, and at once when it comes later than that;
- a pause or break at t takes effect when the counter is at t, after the entries at t; at -inf, or when t has passed, on arrival;
- the counter is at 0 when the experiment has started and nothing from before the start holds any more;
- while one holds, others that become due wait for their turn, first come first served;
- a pause ends when its time is over, a break at the first resume that comes while it holds;
- what holds does not hold back an entry of negative time that came after it had begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Row:
    """One entry: a program with its ``length`` in ticks, or a hold (``math.inf``: a break)."""

    name: str
    time: float
    length: float
    hold: bool = False
    arrival: int = 0
    gone: bool = False
    began: int | None = None
    ended: int | None = None
    waits_since: int | None = None


@dataclass
class Naive:
    """The VM. `tick` is one unit of time.

    Attributes:
        launched: when which program began, in order.
        held: when which hold took effect.
        released: when which hold ended.
        configured: when the VM was configured.

    """

    rows: list[Row] = field(default_factory=list)
    now: int = 0
    start: float = math.inf
    counter: int = 0
    begun: bool = False
    holder: Row | None = None
    launched: list[tuple[int, str]] = field(default_factory=list)
    held: set[tuple[int, str]] = field(default_factory=set)
    released: set[tuple[int, str]] = field(default_factory=set)
    configured: int | None = None

    def arrive(self, row: Row) -> None:
        """Take a row that is new, or back after it was withdrawn, or changed before it began."""
        row.arrival = self.now
        known = next((each for each in self.rows if each.name == row.name), None)
        if known is None:
            self.rows.append(row)
        elif known.began is None:
            changed = known.gone or (known.hold and (known.time, known.length) != (row.time, row.length))
            known.time, known.length, known.gone = row.time, row.length, False
            if changed:
                known.arrival, known.waits_since = self.now, None

    def withdraw(self, kept: set[str]) -> None:
        """Forget rows that have not begun and are not ``kept``; a command of an operator is no row of the schedule."""
        for row in self.rows:
            if row.began is None and row.name not in kept and not row.name.startswith("operator"):
                row.gone, row.waits_since = True, None

    def resume(self) -> None:
        """End a break, if one holds now."""
        if self.holder is not None and self.holder.length == math.inf:
            self._release(self.holder)

    def tick(self) -> None:
        """Do what is to be done now, then let the time go on."""
        while self._hold() or self._launch() or self._end():
            pass
        unfinished = [each for each in self._programs() if each.time < 0 and each.ended is None]
        if self.configured is None and not unfinished:
            self.configured = self.now
        if self.now >= self.start and self.holder is None:
            self.counter += 1
        self.now += 1

    def _programs(self) -> list[Row]:
        return [each for each in self.rows if not each.hold and not each.gone]

    def _hold(self) -> bool:
        if self.holder is not None:
            began = self.holder.began
            assert began is not None
            if self.now < began + self.holder.length:
                self._queue()
                return False
            self._release(self.holder)
            return True
        self.begun = self.begun or self.now >= self.start
        self._queue()
        waiting = [each for each in self.rows if each.waits_since is not None]
        if not waiting:
            return False
        self.holder = min(waiting, key=lambda each: (each.waits_since or 0, each.arrival))
        self.holder.waits_since, self.holder.began = None, self.now
        self.held.add((self.now, self.holder.name))
        return True

    def _queue(self) -> None:
        for row in self.rows:
            reached = row.time == -math.inf or (self.begun and self.counter >= row.time)
            if row.hold and not row.gone and row.began is None and row.waits_since is None and reached:
                row.waits_since = self.now

    def _release(self, row: Row) -> None:
        self.holder = None
        row.ended = self.now
        self.released.add((self.now, row.name))

    def _launch(self) -> bool:
        unfinished = [each for each in self._programs() if each.time < 0 and each.ended is None]
        level = [each for each in unfinished if each.time == min(every.time for every in unfinished)]
        due = [each for each in level if each.began is None and self._free(each)]
        reached = [each for each in self._programs() if each.time > 0 and each.began is None]
        if self.now >= self.start:
            due += sorted((each for each in reached if self.counter >= each.time), key=lambda each: each.time)
        for row in due:
            row.began = self.now
            self.launched.append((self.now, row.name))
        return bool(due)

    def _free(self, row: Row) -> bool:
        return self.holder is None or row.arrival > (self.holder.began or 0)

    def _end(self) -> bool:
        over = [
            each
            for each in self._programs()
            if each.began is not None and each.ended is None and self.now >= each.began + each.length
        ]
        for row in over:
            row.ended = self.now
        return bool(over)
