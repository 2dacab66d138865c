"""Guests that are the stock agent in namespaces of its own: up in a tenth of a second, for experiments with many guests.

Each has its own mounts, pids, hostname, IPC and network over a copy-on-write view of the host's files, with most capabilities
dropped. Real: the agent, files, programs, reboot (the agent's socket closes and comes back), the network. Not real: the kernel
and the clock are the host's. It keeps an experiment's programs from getting in the host's way; it is no wall against
hostile programs - those belong into micro-VMs.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from vmr.errors import GuestSetupError
from vmr.guests import processes
from vmr.guests.base import Backend, Progress, console_log, hostname
from vmr.guests.record import FolderRecord, GuestRecord

_SCRIPTS = Path(__file__).parent / "namespace"
_NAMESPACES = ["--mount", "--pid", "--net", "--uts", "--ipc", "--fork"]
_TOOLS = {
    "qemu-ga": "qemu-guest-agent",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
_SWITCH = "link add switch0 type bridge mcast_snooping 0\nlink set switch0 up\n"
_SWITCH_BOUND_S = 5.0


class NamespacedAgents(Backend):
    """Guests of kind ``agent``. They need root, and have no use for `GuestSpec.memory_mb`."""

    kind = "agent"

    def missing(self) -> list[str]:
        """Return what is missing for namespaced guests: packages, root, or the kernel's leave to make namespaces."""
        lacks = sorted({package for tool, package in _TOOLS.items() if processes.find_tool(tool) is None})
        if os.geteuid() != 0:
            return [*lacks, "root (namespaced guests mount and make networks): start as root, or use micro-VMs"]
        return lacks or _refused_namespaces()

    def _runtime_base(self) -> Path:
        # Not a disk: the agent lists and could freeze whatever file system its socket's folder is on.
        return Path("/dev/shm")  # noqa: S108 - a private folder is made in it

    def _socket(self, runtime: Path, number: int) -> Path:
        return runtime / str(number) / "socket" / "socket"

    async def _prepare(self, folder: Path, known: FolderRecord, progress: Progress) -> None:
        networked = [guest for guest in known.guests if guest.spec.address is not None]
        if not networked or processes.is_alive(known.helper):
            return
        if any(processes.is_alive(guest.process) for guest in networked):
            raise GuestSetupError(
                f"{folder}: the process that held the guests' network has ended: stop the guests, then start them"
            )
        known.helper = processes.spawn(
            ["unshare", "--net", "sleep", "infinity"], self._marks(folder, "network switch"), folder / "network.log"
        )
        _make_switch(known.helper)

    def _launch(self, folder: Path, known: FolderRecord, guest: GuestRecord) -> processes.ProcessId:
        work = guest.socket.parent.parent
        for part in (work / "root", work / "socket"):
            part.mkdir(parents=True, exist_ok=True)
        guest.socket.unlink(missing_ok=True)
        cable = ["", "", ""]
        if guest.spec.address is not None and known.helper is not None:
            cable = [str(known.helper.pid), f"port{guest.number}", guest.spec.address]
        argv = [
            *("unshare", "--net", "--", "/bin/sh", str(_SCRIPTS / "enter-network"), *cable),
            *("/bin/sh", str(_SCRIPTS / "enter-guest"), str(work), hostname(guest.spec.name)),
            *(processes.find_tool("qemu-ga") or "qemu-ga", str(_SCRIPTS)),
        ]
        return processes.spawn(argv, self._marks(folder, guest.spec.name), console_log(folder, guest))


def _make_switch(helper: processes.ProcessId) -> None:
    """Make the bridge in the helper's network namespace, once it has left the host's."""
    own, its = Path("/proc/self/ns/net"), Path(f"/proc/{helper.pid}/ns/net")
    deadline = time.monotonic() + _SWITCH_BOUND_S
    while its.readlink() == own.readlink():
        if time.monotonic() > deadline or not processes.is_alive(helper):
            raise GuestSetupError("the experiment's network namespace did not come up")
        time.sleep(0.002)
    command = ["nsenter", f"--net={its}", "ip", "-batch", "-"]
    done = subprocess.run(command, input=_SWITCH, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuestSetupError(f"the kernel refused the experiment's bridge: {done.stderr.strip()}")


def _refused_namespaces() -> list[str]:
    done = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"the kernel's leave to make namespaces ({done.stderr.strip()})"]
