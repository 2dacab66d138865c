"""vmr: configure, start, drive and observe the virtual machines of an emulated network, and keep the record of it.

::

    import vmr

    with vmr.connect() as log:
        log.add_vm("a1b2", "web-1")
        print(log.query("vms").records())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vmr._version import __version__
from vmr.events import AgentAddress, Event, KnownBody, Recorded
from vmr.logging import quiet_by_default
from vmr.query import Answer
from vmr.schedule import Entry, EntryFile, ObjectRef, Pause, Transfer
from vmr.settings import Settings, load_settings

if TYPE_CHECKING:
    from vmr.log import AsyncLog, Log, connect, connect_async
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


_LOADED_LATER = {
    "AsyncLog": ("vmr.log", "AsyncLog"),
    "Log": ("vmr.log", "Log"),
    "connect": ("vmr.log", "connect"),
    "connect_async": ("vmr.log", "connect_async"),
    "events_of": ("vmr.replay.events_of", "events_of"),
    "open": ("vmr.opened.reader", "open_reader"),
}


def __getattr__(name: str) -> Any:
    """Load what needs DuckDB or NATS when it is asked for: it takes long, and most programs do without one of them."""
    if name not in _LOADED_LATER:
        raise AttributeError(f"module 'vmr' has no attribute {name!r}")
    module, attribute = _LOADED_LATER[name]
    return getattr(import_module(module), attribute)
