"""Guests that are real machines: QEMU micro-VMs with Debian's kernel and the stock agent behind virtio-serial.

They need no root and nothing of the host: the network among them is datagrams between the QEMU processes, joined by a hub in the
first networked VM's own QEMU. Every VM has a root disk of its own that a reboot keeps, like any machine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from subprocess import CalledProcessError, run

from vmr.errors import GuestSetupError, InvalidInputError
from vmr.guests import image, processes
from vmr.guests.base import Backend, Progress, console_log, hostname
from vmr.guests.record import FolderRecord, GuestRecord

ACCELERATOR_VARIABLE = "VMR_ACCEL"
# A /dev/kvm that exists need not work, and finding that out can take 25 s of a hanging QEMU: so KVM only when the user says so.
_ACCELERATOR = "tcg,tb-size=64"
# Measured: these cut the emulated boot by a quarter (no probing of absent keyboards and clocks, no self-tests).
_KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=3 panic=1 mitigations=off nokaslr tsc=reliable no_timer_check cryptomgr.notests "
    "i8042.noaux i8042.nokbd i8042.nopnp audit=0 apparmor=0 rcupdate.rcu_expedited=1"
)
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class MicroVms(Backend):
    """Guests of kind ``vm``.

    Parameters: ``cache`` is the folder for the boot image, by default in the user's cache. The environment variable ``VMR_ACCEL``
    names another QEMU accelerator than ``tcg``, for example ``kvm``.
    """

    kind = "vm"

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._image: image.Image | None = None

    def missing(self) -> list[str]:
        """Return what is missing for micro-VMs."""
        tools = {"qemu-system-x86_64": "qemu-system-x86", "cp": "coreutils"}
        return [package for tool, package in tools.items() if processes.find_tool(tool) is None] + image.missing(
            self._cache
        )

    def _runtime_base(self) -> Path:
        return Path(tempfile.gettempdir())

    def _socket(self, runtime: Path, number: int) -> Path:
        return runtime / f"{number}.agent"

    async def _prepare(self, folder: Path, known: FolderRecord, progress: Progress) -> None:
        self._image = await asyncio.to_thread(image.ensure_image, lambda text: progress("", text), self._cache)
        networked = [guest for guest in known.guests if guest.spec.address is not None]
        if networked and processes.is_alive(networked[0].process):
            if strangers := {guest.spec.name for guest in networked} - set(known.linked):
                raise InvalidInputError(
                    f"the network's hub is in guest {networked[0].spec.name!r}, which runs without a port for "
                    f"{sorted(strangers)}: stop the guests, then start them all together"
                )
        else:
            known.linked = [guest.spec.name for guest in networked]

    def _launch(self, folder: Path, known: FolderRecord, guest: GuestRecord) -> processes.ProcessId:
        if self._image is None:
            raise GuestSetupError("the boot image is not there yet")
        disk = guest.files(folder) / "root.ext4"
        if not disk.exists():
            _copy_sparse(self._image.disk, disk)
        console = console_log(folder, guest)
        argv = [
            *("qemu-system-x86_64", "-name", f"guest={_escape(hostname(guest.spec.name))}"),
            *("-accel", os.environ.get(ACCELERATOR_VARIABLE) or _ACCELERATOR),
            *("-M", "pc,hpet=off,usb=off,vmport=off,smm=off", "-m", str(guest.spec.memory_mb)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-sandbox", _SANDBOX),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs)),
            *("-append", _kernel_arguments(guest)),
            *("-chardev", f"file,id=console,append=on,path={_escape(console)}", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=agent,server=on,wait=off,path={_escape(guest.socket)}"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-drive", f"id=root,if=none,format=raw,file={_escape(disk)}", "-device", "virtio-blk-pci,drive=root"),
            *_network(known, guest),
        ]
        return processes.spawn(argv, self._marks(folder, guest.spec.name), console)


def _kernel_arguments(guest: GuestRecord) -> str:
    address = "" if guest.spec.address is None else f" vmr.address={guest.spec.address}"
    return f"{_KERNEL_ARGUMENTS} vmr.hostname={hostname(guest.spec.name)}{address}"


def _network(known: FolderRecord, guest: GuestRecord) -> list[str]:
    """Return the options for one guest's place in the network: the first networked guest is the hub, the others are leaves."""
    networked = [other for other in known.guests if other.spec.address is not None]
    if guest.spec.address is None or len(networked) < 1:
        return []
    mac = f"52:54:00:00:{guest.number >> 8:02x}:{guest.number & 255:02x}"
    device = ["-device", f"virtio-net-pci,netdev=net,mac={mac},romfile="]
    if guest is not networked[0]:
        return ["-netdev", _datagrams("net", known.runtime, guest.number, "leaf", "hub"), *device]
    ports = ["-netdev", "hubport,id=net,hubid=0"]
    for other in networked[1:]:
        link = f"link{other.number}"
        ports += ["-netdev", _datagrams(link, known.runtime, other.number, "hub", "leaf")]
        ports += ["-netdev", f"hubport,id=port{other.number},hubid=0,netdev={link}"]
    return [*ports, *device]


def _datagrams(name: str, runtime: Path, number: int, here: str, there: str) -> str:
    local, remote = (_escape(runtime / f"{number}.{end}") for end in (here, there))
    return f"dgram,id={name},local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"


def _escape(value: object) -> str:
    """Return a value for a QEMU option list, where a comma is written twice."""
    return str(value).replace(",", ",,")


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a disk without its holes (1 GiB that takes 13 MB), so that a half-made copy is never taken for a disk."""
    draft = target.with_suffix(".new")
    try:
        run(
            ["cp", "--sparse=always", "--reflink=auto", str(source), str(draft)],
            capture_output=True,
            text=True,
            check=True,
        )
    except CalledProcessError as error:
        draft.unlink(missing_ok=True)
        free = shutil.disk_usage(target.parent).free // 2**20
        raise GuestSetupError(
            f"{target}: cannot be written ({error.stderr.strip()}); {free} MiB are free there"
        ) from error
    draft.replace(target)
