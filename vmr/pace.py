"""How long to wait between two looks at a running program: soon at first, then in proportion to how long it runs already.

A look costs the handler and the guest a request or three. So that short programs are noticed at once, long ones within a sixteenth of
their duration, and a thousand that run for hours cost next to nothing: the pause grows by half each time up to a quarter of a second,
then with the duration, up to `LONGEST`; and all programs of a handler together are looked at `LOOKS_PER_SECOND` times at most.
"""

from __future__ import annotations

import asyncio
from typing import Final

from vmr.clock import Clock

FIRST: Final = 0.002
LONGEST: Final = 8.0
LOOKS_PER_SECOND: Final = 2_000
PIECES_AT_ONCE: Final = 64
"""Pieces of output (a megabyte each) that a handler holds at once: thousands of programs may end in the same second."""
_GROWTH: Final = 1.5
_SHORT: Final = 0.25
_SHARE: Final = 1 / 16
_AFTER_OUTPUT: Final = 0.02


def next_pause(last: float, elapsed: float, watched: int) -> float:
    """Return the seconds until the next look at a program.

    ``last`` is the pause before (0 at first), ``elapsed`` how long the program is being watched, ``watched`` how many programs the handler
    watches in all.
    """
    wanted = min(max(FIRST, last * _GROWTH), max(_SHORT, elapsed * _SHARE))
    return min(LONGEST, max(wanted, watched / LOOKS_PER_SECOND))


class Watch:
    """What the attempts of a handler share: how many programs are watched, and room for output on its way into the log."""

    def __init__(self) -> None:
        self.count = 0
        self.room = asyncio.Semaphore(PIECES_AT_ONCE)


class Looks:
    """The looks at one program: a ``with`` block while it is being watched."""

    def __init__(self, clock: Clock, watch: Watch) -> None:
        self._clock = clock
        self._watch = watch
        self._begun = clock.monotonic()
        self._last = 0.0

    def __enter__(self) -> None:
        """Count the program among those that are watched."""
        self._watch.count += 1

    def __exit__(self, *_: object) -> None:
        """Count it no more."""
        self._watch.count -= 1

    @property
    def elapsed(self) -> float:
        """Seconds since the watching began."""
        return self._clock.monotonic() - self._begun

    def next_pause(self, *, wrote: bool) -> float:
        """Return the seconds until the next look; soon again when the program has just written something."""
        if wrote:
            self._last = min(self._last, _AFTER_OUTPUT)
        self._last = next_pause(self._last, _AFTER_OUTPUT if wrote else self.elapsed, self._watch.count)
        return self._last
