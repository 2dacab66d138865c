"""The database with its services that the tests of commands have."""

from __future__ import annotations

from tests.cli.conftest import served, served_log

__all__ = ["served", "served_log"]
