"""What the tests of defects share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    """Return a folder for sockets."""
    folder = tmp_path / "s"
    folder.mkdir()
    return folder
