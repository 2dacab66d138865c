"""Guests for tests of drivers: the stock agent as a process of this host, and a driver for it."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.agent.backends import StockAgent
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver

LOG = logging.getLogger("test")


@contextlib.contextmanager
def stock_agent() -> Iterator[StockAgent]:
    """Run a stock agent in a folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    agent = StockAgent(folder)
    try:
        yield agent
    finally:
        agent.close()
        shutil.rmtree(folder)


@contextlib.contextmanager
def connected_driver(agent: StockAgent) -> Iterator[QemuGuestAgentDriver]:
    """Connect a driver to the agent."""
    driver = QemuGuestAgentDriver({"path": str(agent.socket), "vm_name": "vm1"}, LOG)
    connect_soon(driver)
    try:
        yield driver
    finally:
        driver.close()


def connect_soon(driver: QemuGuestAgentDriver) -> None:
    """Connect as soon as the agent listens, which it does a moment after its socket is there, or after a boot."""
    deadline = time.monotonic() + 20
    while True:
        try:
            driver.connect()
        except OSError:
            assert time.monotonic() < deadline
        else:
            return
