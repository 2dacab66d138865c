"""The log: publish events, read and follow them, store what is too large for one, ask the read model."""

from __future__ import annotations

from vmr.log._async import AsyncLog
from vmr.log._connect import connect, connect_async
from vmr.log._identity import Identity, read_identity
from vmr.log._last import events_at, last_events
from vmr.log._sync import Log
from vmr.log._verbs import DEFAULT_STORE

__all__ = [
    "DEFAULT_STORE",
    "AsyncLog",
    "Identity",
    "Log",
    "connect",
    "connect_async",
    "events_at",
    "last_events",
    "read_identity",
]
