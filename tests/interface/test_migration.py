"""docs/migrating-from-firewheel.md, tried as a FIREWHEEL user would."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath

import pytest

from tests.interface.agents import LOG
from tests.real import real_guests
from vmr.drivers.qemu_guest_agent_driver import QemuGuestAgentDriver
from vmr.events import OutputCaptured
from vmr.guests import GuestSpec
from vmr.log import connect
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "migrating-from-firewheel.md").read_text(encoding="utf-8")
DEFINITIONS = json.loads((Path(__file__).parent / "seed_signatures.json").read_text(encoding="utf-8"))


def block(language: str) -> str:
    """Return the page's only block in this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture(name="sockets")
def _sockets(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Yield the agents' sockets of two guests."""
    guests = real_guests("agent")
    specs = [GuestSpec(name="host-1"), GuestSpec(name="host-2")]
    yield asyncio.run(guests.start(specs, tmp_path / "guests"))
    asyncio.run(guests.stop(tmp_path / "guests"))


def test_the_script_runs(served: Settings, sockets: dict[str, Path], tmp_path: Path) -> None:
    """The page's script, with a handler for each VM as the page configures it, does in the guests what it says."""
    script = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", block("python")], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    handlers: list[subprocess.Popen[str]] = []
    try:
        _until_added(2)
        for number in (1, 2):
            config = json.loads(block("json").replace("host-1", f"host-{number}").replace("uuid-1", f"uuid-{number}"))
            file = tmp_path / f"host-{number}.json"
            file.write_text(json.dumps(config | {"path": str(sockets[f"host-{number}"])}))
            command = [sys.executable, "-m", "vmr.vm_resource_handler", str(file)]
            handlers.append(subprocess.Popen(command, text=True))
        printed, _ = script.communicate(timeout=60)
    finally:
        for process in (script, *handlers):
            process.kill()
            process.wait(10)
    assert script.returncode == 0
    assert re.search(r"^2 hosts are configured\nconfigured \d+ s after the launch\n\Z", printed, re.MULTILINE)
    with connect(settings=served) as log:
        said = [each.event.body for batch in log.read() for each in batch]
    assert sorted(str(each.text) for each in said if isinstance(each, OutputCaptured)) == [
        "host 1 is ready\n",
        "host 2 is ready\n",
    ]
    driver = QemuGuestAgentDriver({"path": str(sockets["host-2"])}, LOG)
    driver.connect()
    assert driver.read_file("/etc/motd", PurePosixPath(tmp_path / "copied"))
    driver.close()
    assert (tmp_path / "copied").read_text() == "Welcome.\n"


def test_the_script_differs_by_what_the_page_says() -> None:
    """With the imports and the encoding undone, nothing of vmr's own is left in it."""
    undone = block("python").replace(", encode_schedule", "").replace("encode_schedule(", "pickle.dumps(")
    assert "encode_schedule" not in undone
    assert re.findall(r"^.*\bvmr\b.*$", undone, re.MULTILINE) == [
        "from vmr import api",
        "from vmr.schedule_db import ScheduleDb",
        "from vmr.schedule_entry import ScheduleEntry",
    ]


def test_every_module_is_in_the_table() -> None:
    """Each module of the reference stands on the page, and what stands there exists."""
    for definition in DEFINITIONS:
        assert f"`{definition['module']}" in PAGE
    for module, name in re.findall(r"`vmr\.((?:\w+\.)*\w+)\.([A-Z]\w+)`", PAGE):
        assert hasattr(import_module(f"vmr.{module}"), name)


def _until_added(count: int) -> None:
    waited = threading.Event()
    deadline = time.monotonic() + 30
    with VMMapping() as mapping:
        while len(mapping.get_all()) < count:
            assert time.monotonic() < deadline
            waited.wait(0.05)
