"""`QemuGuestAgentDriver` with what only a guest of one's own can be asked for: a reboot, a password, the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interface.agents import LOG, connect_soon
from tests.real import real_guests
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver
from vmr.guests import GuestSpec


@pytest.fixture(name="driver")
def _driver(tmp_path: Path) -> Iterator[QemuGuestAgentDriver]:
    """Yield a driver connected to a stock agent in namespaces."""
    guests = real_guests("agent")
    sockets = asyncio.run(guests.start([GuestSpec(name="vm1")], tmp_path / "guests"))
    driver = QemuGuestAgentDriver({"path": str(sockets["vm1"])}, LOG)
    driver.connect()
    yield driver
    driver.close()
    asyncio.run(guests.stop(tmp_path / "guests"))


def output(driver: QemuGuestAgentDriver, script: str) -> str:
    """Return what a shell script prints in the guest."""
    pid = driver.execute("/bin/sh", ["-c", script])
    assert pid is not None
    assert driver.evaluate_process_success(pid)
    return driver.get_stdout(pid) or ""


def test_a_reboot(driver: QemuGuestAgentDriver) -> None:
    """Nothing is known of programs afterwards; connecting again reaches the next boot."""
    before = output(driver, "cat /proc/sys/kernel/random/boot_id")
    assert driver.output_cache
    driver.reboot()
    assert driver.output_cache == {}
    connect_soon(driver)
    assert output(driver, "cat /proc/sys/kernel/random/boot_id") != before


def test_a_password(driver: QemuGuestAgentDriver) -> None:
    """The user has another one."""
    before = output(driver, "grep ^root: /etc/shadow")
    driver.set_user_password("root", "Größe: 'quoted' $x")
    assert output(driver, "grep ^root: /etc/shadow") != before
    with pytest.raises(OSError, match="guest-set-user-password"):
        driver.set_user_password("no such user", "x")


def test_the_clock(driver: QemuGuestAgentDriver) -> None:
    """A guest that shares its host's clock may not set it, and says so."""
    assert abs(driver.get_time() - time.time_ns()) < 5e9
    with pytest.raises(OSError, match="not permitted"):
        driver.set_time()
