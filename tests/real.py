"""Real guests and a real browser for tests. They never skip by themselves: a host that lacks something has to be told so, or has to say so."""

from __future__ import annotations

import os
import shutil

import pytest

from vmr.guests import Backend, backend


def real_guests(kind: str) -> Backend:
    """Return the backend of a kind (``vm`` or ``agent``); fail the test when this host cannot have such guests.

    ``ops/test`` sets VMR_SKIP_REAL_GUESTS, and says so, where Debian's packages may not be installed; then the test is skipped.
    """
    found = backend(kind)
    if lacks := found.missing():
        message = f"guests of kind {kind!r} need: {', '.join(lacks)}. Run ops/packages"
        if os.environ.get("VMR_SKIP_REAL_GUESTS"):
            pytest.skip(message)
        pytest.fail(message)
    return found


def real_browser() -> str:
    """Return the path of Chromium; fail the test when this host has none, or skip it as `real_guests` does."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "tests of pages need Chromium. Run ops/packages --tests"
        if os.environ.get("VMR_SKIP_REAL_GUESTS"):
            pytest.skip(message)
        pytest.fail(message)
    return found
