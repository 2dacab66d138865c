"""vmr: configure, start, drive and observe the virtual machines of an emulated network, and keep the record of it.

::

    import vmr

    with vmr.connect() as log:
        log.add_vm("a1b2", "web-1")
        print(log.query("vms").records())
"""

from __future__ import annotations

from vmr._version import __version__
from vmr.events import AgentAddress, Event, KnownBody, Recorded
from vmr.log import AsyncLog, Log, connect, connect_async
from vmr.logging import quiet_by_default
from vmr.query import Answer
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, Transfer
from vmr.settings import Settings, load_settings

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
    "load_settings",
]

quiet_by_default()
