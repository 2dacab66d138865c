"""The two kinds of guest agent that the contract suite runs against, behind one small interface."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

import pytest

from vmr.testing import Fault, SimulatedHost

DANGEROUS = (
    "guest-shutdown,guest-set-time,guest-set-user-password,guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fsfreeze-thaw,"
    "guest-fstrim,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,guest-set-vcpus,guest-set-memory-blocks,"
    "guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys"
)


class Backend(Protocol):
    """A running guest agent."""

    socket: Path
    files: str
    """An existing folder of the guest for a test's files."""

    def stop(self) -> None:
        """Have the agent answer nothing until `resume`."""

    def resume(self) -> None:
        """Have it go on."""

    def kill(self) -> None:
        """End the agent at its next command at the latest; another one takes its place."""


class StockAgent:
    """The stock agent as a plain process of this host, with every command blocked that would change the host."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "agent.sock"
        self.files = str(folder / "files")
        (folder / "files").mkdir()
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self.socket.unlink(missing_ok=True)
        if shutil.which("qemu-ga") is None and os.environ.get("VMR_SKIP_REAL_GUESTS"):
            pytest.skip("the stock guest agent is missing: run ops/packages")
        place = ["-m", "unix-listen", "-p", str(self.socket), "-t", str(self._folder), "-f", str(self._folder / "pid")]
        self.process = subprocess.Popen(["qemu-ga", *place, "-b", DANGEROUS], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert self.process.poll() is None, "qemu-ga ended at once"
            assert time.monotonic() < deadline, "qemu-ga did not listen within 10 s"
            time.sleep(0.002)

    def stop(self) -> None:
        """Stop the process."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and start another."""
        self.close()
        self._start()

    def close(self) -> None:
        """Kill the process: SIGTERM can hang it."""
        self.process.kill()
        self.process.wait(10)


class SimulatedAgent:
    """A simulated guest's agent."""

    def __init__(self, host: SimulatedHost, name: str) -> None:
        self.host = host
        self.name = name
        self.guest = host.guests[name]
        self.socket = host.sockets[name]
        self.files = "/root/files"
        self.guest.files.make_folders(self.files)

    def stop(self) -> None:
        """Stop the agent."""
        self.guest.stop()

    def resume(self) -> None:
        """Let the agent go on."""
        self.host.resume(self.name)

    def kill(self) -> None:
        """Have the agent die at the next command."""
        self.guest.inject(Fault("die"))
