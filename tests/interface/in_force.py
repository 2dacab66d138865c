"""Makes a test's settings those in force, as the objects of the documented interface take them."""

from __future__ import annotations

import pytest

from vmr.settings import Settings


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `load_settings` return ``settings`` in this process and its children, until the test is over."""
    monkeypatch.setenv("VMR_HOME", str(settings.home))
    monkeypatch.setenv("VMR_DB", settings.db)
    for name in ("VMR_URL", "VMR_CREDENTIALS", "VMR_CA"):
        monkeypatch.delenv(name, raising=False)
