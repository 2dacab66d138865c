"""vmr: configure, start, drive and observe the virtual machines of an emulated network, and keep the record of it."""

from __future__ import annotations

from vmr._version import __version__

__all__ = ["__version__"]
