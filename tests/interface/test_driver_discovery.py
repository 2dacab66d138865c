"""How drivers are found: the drivers folder and the entry point group ``vmr.drivers``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interface.other_driver import ENGINE, OtherDriver
from vmr.abstract_driver import AbstractDriver
from vmr.clock import SystemClock
from vmr.driver_guest import driver_guest
from vmr.drivers import available_drivers, find_driver, is_driver
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver
from vmr.errors import GuestError, InvalidInputError
from vmr.events import AgentAddress
from vmr.vm_state import VmState

OTHER = "tests.interface.other_driver"


@pytest.fixture(name="install")
def _install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a package which names its drivers as these entry points."""

    def install(*points: str) -> None:
        package = tmp_path / "other_drivers-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: other-drivers\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text("\n".join(["[vmr.drivers]", *points, ""]))
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


def test_the_drivers_folder() -> None:
    """The driver for QEMU's agent is there; the abstract class is no driver."""
    assert available_drivers() == {QemuGuestAgentDriver}
    assert find_driver("QemuVM") is QemuGuestAgentDriver
    assert not is_driver(AbstractDriver)
    assert not is_driver(OtherDriver.get_engine)


@pytest.mark.parametrize("point", [f"other = {OTHER}:OtherDriver", f"other = {OTHER}"])
def test_an_installed_driver(install: Callable[..., None], point: str) -> None:
    """An entry point that names a class, or a module with one, adds it."""
    install(point)
    assert find_driver(ENGINE) is OtherDriver
    assert find_driver("QemuVM") is QemuGuestAgentDriver


def test_a_broken_package(install: Callable[..., None]) -> None:
    """A driver that cannot be imported takes nobody else's away."""
    install("broken = no_such_package.driver:Driver", f"other = {OTHER}:OtherDriver")
    assert available_drivers() == {QemuGuestAgentDriver, OtherDriver}


def test_no_driver() -> None:
    """An engine that nobody has a driver for is told with those that there are."""
    with pytest.raises(InvalidInputError, match=r"no driver for the engine 'XenVM'.*'QemuVM'"):
        find_driver("XenVM")


def test_two_drivers_for_one_engine(install: Callable[..., None]) -> None:
    """Which one is meant cannot be guessed."""
    install("again = tests.interface.test_driver_discovery:Again")
    with pytest.raises(InvalidInputError, match=r"more than one driver for the engine 'QemuVM'"):
        find_driver("QemuVM")


async def test_a_vm_without_a_driver(tmp_path: Path) -> None:
    """A handler learns it as a guest that does not do what is asked, and not as a defect."""
    vm = VmState("uuid", "vm1", agent=AgentAddress("host", str(tmp_path / "none"), "XenVM"))
    guest = driver_guest(vm, SystemClock())
    with pytest.raises(GuestError, match=r"guest vm1: .*no driver for the engine 'XenVM'"):
        await guest.connect(1)
    await guest.close()


class Again(QemuGuestAgentDriver):
    """A second driver for the same engine."""
