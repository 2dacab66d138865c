"""Take single packages from Debian's archive without installing them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vmr.errors import GuestSetupError
from vmr.guests.processes import find_tool

_TIMEOUT_S = 300.0


def knows(package: str) -> bool:
    """Tell whether the package lists of this host have the package."""
    tool = find_tool("apt-cache")
    return (
        tool is not None and subprocess.run([tool, "show", package], capture_output=True, check=False).returncode == 0
    )


def resolve_kernel(metapackage: str) -> str:
    """Return the package with the kernel image itself that the metapackage depends on now.

    Raises `GuestSetupError` when the package lists do not know it.
    """
    for line in _run("apt-cache", "depends", metapackage).splitlines():
        relation, _, package = line.strip().partition(": ")
        if relation == "Depends" and package.startswith("linux-image-"):
            return package
    raise GuestSetupError(
        f"Debian's package lists do not say which kernel {metapackage} is: run ops/packages (or apt-get update)"
    )


def unpack(package: str, folder: Path) -> Path:
    """Download a package into ``folder`` and return a new folder there with its files.

    Raises `GuestSetupError` when it cannot be fetched, for example without a network or with outdated package lists.
    """
    download, files = folder / f"{package}.download", folder / package
    download.mkdir()
    _run("apt-get", "download", package, folder=download)
    archive = next(download.glob("*.deb"), None)
    if archive is None:
        raise GuestSetupError(f"apt-get downloaded no file for {package}")
    _run("dpkg-deb", "-x", str(archive), str(files))
    archive.unlink()
    return files


def _run(tool: str, *arguments: str, folder: Path | None = None) -> str:
    path = find_tool(tool)
    if path is None:
        raise GuestSetupError(
            f"{tool} is not there: micro-VMs are built from Debian's packages, on Debian or a derivative"
        )
    try:
        done = subprocess.run(
            [path, *arguments], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        raise GuestSetupError(
            f"{tool} {' '.join(arguments)} failed: {error.stderr.strip()}; "
            "is the network there? If so, refresh the package lists: apt-get update"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise GuestSetupError(f"{tool} {' '.join(arguments)} did not end within {_TIMEOUT_S:.0f} s") from error
    return done.stdout
