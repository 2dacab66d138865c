"""The log: publish events, read and follow them, store what is too large for one, ask the read model."""

from __future__ import annotations

from vmr.log._async import AsyncLog
from vmr.log._identity import Identity, read_identity

__all__ = ["AsyncLog", "Identity", "read_identity"]
