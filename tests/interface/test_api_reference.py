"""docs/api.md is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = [sys.executable, str(ROOT / "ops" / "generate_api_reference.py")]


def test_the_reference_is_up_to_date() -> None:
    """The page has what the generator makes of the code; when it has not, the message says what to type."""
    checked = subprocess.run([*GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_everything_public_is_described() -> None:
    """Every function, class and method that is shown has a text under its heading."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines()
    headings = [number for number, line in enumerate(page) if line.startswith(("### ", "#### "))]
    assert len(headings) > 200
    assert [page[number] for number in headings if page[number + 2].startswith("#") or not page[number + 2]] == []
