"""Read models' files for the tests of exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmr.events import Recorded
from vmr.projector import Projector


def fold(path: Path, history: Sequence[Recorded]) -> Path:
    """Fold ``history`` into a read model at ``path``, and return its path."""
    projector = Projector(path)
    try:
        projector.apply(history)
    finally:
        projector.close()
    return path
