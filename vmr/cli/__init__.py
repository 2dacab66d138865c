"""The command line, ``vmr``: what operators type. Each command is a thin face of the library."""

from __future__ import annotations

from vmr.cli._app import app, main

__all__ = ["app", "main"]
