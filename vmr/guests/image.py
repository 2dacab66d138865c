"""Build what a micro-VM boots, once per host: kernel, initramfs with the drivers, and the root disk every VM gets a copy of.

Debian's cloud kernel and static busybox come from the package archive without being installed; the guest agent is the stock one
of this host, with its libraries. The result is kept in the user's cache, under a hash of everything of this host that went in.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import platformdirs

from vmr.errors import GuestSetupError
from vmr.guests import cpio, debian, kernel
from vmr.guests.processes import find_tool

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
DISK_BYTES = 1 << 30
_SOURCES = Path(__file__).parent / "image"
_FORMAT = b"1"  # raised when this module builds something else from the same inputs
_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net"]
_FOLDERS = "bin sbin usr/bin usr/sbin lib lib64 etc dev proc sys run root var/launch var/log var/tmp tmp mnt home"
_SHADOWED = {"sbin/shutdown", "bin/busybox", "usr/bin/busybox", "sbin/init"}
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "shadow": "root:*:19000:0:99999:7:::\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "os-release": 'NAME="vmr micro-VM"\nID=vmr\nVERSION_ID="1"\nPRETTY_NAME="vmr micro-VM"\n',
}


class Image(msgspec.Struct, frozen=True):
    """The three files a micro-VM boots; ``disk`` is a template that is copied for each VM."""

    kernel: Path
    initramfs: Path
    disk: Path


def missing(cache: Path | None = None) -> list[str]:
    """Return what this host lacks to have the image, as names of Debian packages or reasons."""
    if platform.machine() != "x86_64":
        return [f"an x86-64 processor (this one is {platform.machine()})"]
    tools = {"qemu-ga": "qemu-guest-agent", "mkfs.ext4": "e2fsprogs", "apt-get": "apt", "dpkg-deb": "dpkg"}
    lacks = [package for tool, package in tools.items() if find_tool(tool) is None]
    if lacks or (_home(cache) / _key()).is_dir() or debian.knows(KERNEL_METAPACKAGE):
        return lacks
    return [f"{KERNEL_METAPACKAGE} (Debian's package lists do not know it: apt-get update)"]


def ensure_image(tell: Callable[[str], None], cache: Path | None = None) -> Image:
    """Return the image, building it when the cache has none of this host's agent (about 5 s and 28 MB to download).

    Raises `GuestSetupError` when it cannot be built; the message says what is missing.
    """
    home = _home(cache)
    home.mkdir(parents=True, exist_ok=True)
    target = home / _key()
    image = Image(target / "vmlinux", target / "initramfs.cpio", target / "root.ext4")
    with _locked(home / "lock"):
        if not target.is_dir():
            tell("building the micro-VM image (once per host)")
            with tempfile.TemporaryDirectory(dir=home, prefix="build-") as work:
                _build(Path(work), tell)
                (Path(work) / "image").rename(target)
    return image


def _home(cache: Path | None) -> Path:
    return cache or platformdirs.user_cache_path("vmr") / "guests"


def _key() -> str:
    digest = hashlib.sha256(_FORMAT)
    for path in [*_agent_files(), *sorted(_SOURCES.iterdir())]:
        digest.update(str(path.name).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _agent_files() -> list[Path]:
    """Return the agent of this host and the shared libraries it needs."""
    agent, ldd = find_tool("qemu-ga"), find_tool("ldd")
    if agent is None or ldd is None:
        raise GuestSetupError("the stock guest agent is not installed: run ops/packages (package qemu-guest-agent)")
    listing = subprocess.run([ldd, agent], capture_output=True, text=True, check=True).stdout
    return [Path(agent), *(Path(word) for word in re.findall(r"(/\S+) \(0x", listing))]


def _build(work: Path, tell: Callable[[str], None]) -> None:
    out, root = work / "image", work / "root"
    out.mkdir()
    package = debian.resolve_kernel(KERNEL_METAPACKAGE)
    tell(f"fetching {package} and busybox-static from Debian")
    kernel_files = debian.unpack(package, work)
    busybox = _busybox(debian.unpack("busybox-static", work))
    (out / "vmlinux").write_bytes(kernel.bootable(next(kernel_files.glob("boot/vmlinuz-*")).read_bytes()))
    (out / "initramfs.cpio").write_bytes(_initramfs(busybox, kernel.modules(kernel_files, _MODULES)))
    _populate(root, busybox)
    _make_disk(root, out / "root.ext4")
    (out / "kernel-package").write_text(f"{package}\n", encoding="ascii")


def _busybox(files: Path) -> Path:
    found = next((path for path in (files / "bin/busybox", files / "usr/bin/busybox") if path.is_file()), None)
    if found is None:
        raise GuestSetupError("the package busybox-static has no busybox where it is expected")
    return found


def _initramfs(busybox: Path, modules: list[tuple[str, bytes]]) -> bytes:
    folders = [cpio.folder(path) for path in ("bin", "dev", "proc", "sys", "root", "modules")]
    drivers = [cpio.file(f"modules/{n:02d}-{name}.ko", content, 0o644) for n, (name, content) in enumerate(modules)]
    return cpio.archive(
        [
            *folders,
            cpio.character_device("dev/console", 5, 1),
            cpio.file("bin/busybox", busybox.read_bytes()),
            cpio.file("init", (_SOURCES / "initramfs-init").read_bytes()),
            *drivers,
        ]
    )


def _populate(root: Path, busybox: Path) -> None:
    """Lay out the root disk's files: busybox under all its names, the agent with its libraries, our few scripts."""
    for folder in _FOLDERS.split():
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(busybox, root / "bin/busybox")
    applets = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True).stdout.split()
    for applet in sorted(set(applets) - _SHADOWED):
        (root / applet).parent.mkdir(parents=True, exist_ok=True)
        (root / applet).symlink_to("/bin/busybox")
    agent, *libraries = _agent_files()
    shutil.copy2(agent, root / "usr/sbin/qemu-ga")
    for library in libraries:
        (root / library.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
        shutil.copy2(library.resolve(), root / library.relative_to("/"))
    for name, place in {"guest-init": "sbin", "shutdown": "sbin", "chpasswd": "usr/sbin"}.items():
        (root / place / name).unlink(missing_ok=True)
        shutil.copy(_SOURCES / name, root / place / name)
        (root / place / name).chmod(0o755)
    for name, text in _ETC.items():
        (root / "etc" / name).write_text(text, encoding="ascii")
    (root / "etc/shadow").chmod(0o600)


def _make_disk(root: Path, disk: Path) -> None:
    tool = find_tool("mkfs.ext4")
    if tool is None:
        raise GuestSetupError("mkfs.ext4 is not installed: run ops/packages (package e2fsprogs)")
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    # In a user namespace of one user the builder's files are root's, as they have to be in the guest.
    as_root = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    options = ["-q", "-F", "-m", "0", "-J", "size=4", "-N", "65536", "-E", "root_owner=0:0", "-d", str(root)]
    try:
        subprocess.run([*as_root, tool, *options, str(disk)], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise GuestSetupError(f"mkfs.ext4 could not make the root disk: {error.stderr.strip()}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
