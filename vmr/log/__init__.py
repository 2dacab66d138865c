"""The log: publish events, read and follow them, store what is too large for one, ask the read model."""

from __future__ import annotations

from vmr.log._async import DEFAULT_STORE, AsyncLog
from vmr.log._connect import connect, connect_async
from vmr.log._identity import Identity, read_identity
from vmr.log._sync import Log

__all__ = ["DEFAULT_STORE", "AsyncLog", "Identity", "Log", "connect", "connect_async", "read_identity"]
