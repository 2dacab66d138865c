"""Real guests to run experiments on: micro-VMs (``vm``) and stock guest agents in namespaces of their own (``agent``).

Both have one interface, `Backend`: ``await start(specs, folder)`` returns each guest's agent socket, ``adopt(folder)`` what is
alive, ``await stop(folder)`` ends them, ``missing()`` says what a host lacks. `running` lists every guest on this host.
"""

from __future__ import annotations

from vmr.errors import InvalidInputError
from vmr.guests.base import Backend, Progress
from vmr.guests.namespaces import NamespacedAgents
from vmr.guests.processes import RunningGuest, running
from vmr.guests.record import GuestSpec
from vmr.guests.vm import MicroVms

__all__ = ["Backend", "GuestSpec", "MicroVms", "NamespacedAgents", "Progress", "RunningGuest", "backend", "running"]

_KINDS: dict[str, type[MicroVms | NamespacedAgents]] = {"vm": MicroVms, "agent": NamespacedAgents}


def backend(kind: str) -> Backend:
    """Return the backend for guests of this kind, ``vm`` or ``agent``; raise `InvalidInputError` for any other."""
    if kind not in _KINDS:
        raise InvalidInputError(f"no guests of kind {kind!r}: use one of {', '.join(_KINDS)}")
    return _KINDS[kind]()
