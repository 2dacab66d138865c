"""An operator's terminal, while a handler drives simulated guests in the same test."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from vmr.cli import main
from vmr.settings import Settings


class Said(NamedTuple):
    """What a command said, and its exit code."""

    out: str
    err: str
    code: int


class Terminal:
    """Runs commands for one database."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self._begin = ["--home", str(settings.home), "--db", settings.db]
        self._capsys = capsys

    def run(self, *words: str) -> Said:
        """Run one command to its end."""
        self._capsys.readouterr()
        code = main([*self._begin, *words])
        printed = self._capsys.readouterr()
        return Said(printed.out, printed.err, code)

    async def type(self, *words: str) -> Said:
        """Run one command to its end while this loop goes on."""
        return await asyncio.to_thread(self.run, *words)
