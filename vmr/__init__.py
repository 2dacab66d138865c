"""vmr: configure, start, drive and observe the virtual machines of an emulated network, and keep the record of it.

::

    import vmr

    with vmr.connect() as log:
        log.add_vm("a1b2", "web-1")
        print(log.query("vms").records())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmr._version import __version__
from vmr.events import AgentAddress, Event, KnownBody, Recorded
from vmr.log import AsyncLog, Log, connect, connect_async
from vmr.logging import quiet_by_default
from vmr.query import Answer
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, Transfer
from vmr.settings import Settings, load_settings

if TYPE_CHECKING:
    from vmr.opened.reader import open_reader as open  # noqa: A004 - vmr.open
    from vmr.replay.events_of import events_of

__all__ = [
    "AgentAddress",
    "Answer",
    "AsyncLog",
    "Entry",
    "EntryFile",
    "Event",
    "KnownBody",
    "Log",
    "ObjectRef",
    "Pause",
    "Recorded",
    "Settings",
    "Transfer",
    "__version__",
    "connect",
    "connect_async",
    "events_of",
    "load_settings",
    "open",
]

quiet_by_default()


def __getattr__(name: str) -> Any:
    """Load what needs DuckDB when it is asked for: it takes long, and most programs do without."""
    if name == "open":
        from vmr.opened.reader import open_reader  # noqa: PLC0415

        return open_reader
    if name == "events_of":
        from vmr.replay.events_of import events_of as found  # noqa: PLC0415

        return found
    raise AttributeError(f"module 'vmr' has no attribute {name!r}")
