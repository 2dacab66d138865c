"""Helpers for tests of programs that use vmr: a clock that obeys, and guests that are simulated.

`MockClock` is a `vmr.clock.Clock` that moves when told. `SimulatedGuest` answers as the stock QEMU guest agent does and
executes nothing on the host; `SimulatedHost` serves any number of them over Unix sockets, so that handlers and drivers
cannot tell. What its programs do, print and return is said with `SimulatedProgram` and `Output` in a `Behaviour`; what
goes wrong with its agent, with `Fault`.

For tests of whole handlers without sockets, servers and waiting there are `MemoryLog`, a log in memory with the semantics of the real
one; `WiredHost` with `WiredGuest`, simulated guests that are reached over wires in the process; and `SimulatedLoop`, an event loop whose
time is simulated (`LoopClock` goes with it) and in which a `SimulatedProcess` can be killed at any step.
"""

from __future__ import annotations

from vmr.testing.clock import MockClock
from vmr.testing.guest import Answer, Fault, SimulatedGuest
from vmr.testing.host import SimulatedHost, socket_path
from vmr.testing.loop import LoopClock, SimulatedLoop, SimulatedProcess, SimulationError
from vmr.testing.memory_log import MemoryLog
from vmr.testing.programs import Behaviour, Output, SimulatedProgram, load_behaviour
from vmr.testing.wire import WiredGuest, WiredHost

__all__ = [
    "Answer",
    "Behaviour",
    "Fault",
    "LoopClock",
    "MemoryLog",
    "MockClock",
    "Output",
    "SimulatedGuest",
    "SimulatedHost",
    "SimulatedLoop",
    "SimulatedProcess",
    "SimulatedProgram",
    "SimulationError",
    "WiredGuest",
    "WiredHost",
    "load_behaviour",
    "socket_path",
]
