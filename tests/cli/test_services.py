"""The processes that ``vmr up`` runs."""

from __future__ import annotations

import psutil
import pytest

from vmr.settings import Settings


@pytest.mark.parametrize("service", ["projector", "sql"])
def test_read_models_step_back_behind_what_records(served: Settings, service: str) -> None:
    """On a busy machine handlers and publishers, which run as usual, have the processor first."""
    words = ["--db", served.db, "service", service]
    found = [process for process in psutil.Process().children() if _ends(process, words)]
    assert [process.nice() > psutil.Process().nice() for process in found] == [True]


def _ends(process: psutil.Process, words: list[str]) -> bool:
    return process.cmdline()[-len(words) :] == words
