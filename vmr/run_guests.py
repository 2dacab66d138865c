"""The guests of a run: real ones through `vmr.guests`, or simulated ones in a process of their own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import psutil

from vmr.errors import GuestSetupError
from vmr.experiment_plan import Experiment, VmPlan
from vmr.guests import GuestSpec, backend
from vmr.testing import Behaviour, socket_path

GuestKind: TypeAlias = Literal["vm", "agent", "simulated"]
Progress: TypeAlias = Callable[[str, str], None]

_READY_SECONDS: Final = 60.0


class Guests(Protocol):
    """The guests of one run, by the folder in which they are recorded."""

    def missing(self) -> list[str]:
        """Return what this host lacks for them; empty when all is there."""
        ...

    async def start(self, experiment: Experiment, folder: Path, progress: Progress) -> dict[str, Path]:
        """Start those that do not run; return the agent's socket of each VM that is to be booted, by name."""
        ...

    async def stop(self, folder: Path) -> None:
        """End them all."""
        ...


def guests_of(kind: GuestKind) -> Guests:
    """Return the guests of this kind."""
    return _Simulated() if kind == "simulated" else _Real(kind)


def booted(experiment: Experiment) -> list[VmPlan]:
    """Return the VMs that are booted for the run, not there already."""
    return [vm for vm in experiment.vms if vm.agent is None and vm.managed]


class _Real:
    """Micro-VMs or namespaced agents."""

    def __init__(self, kind: str) -> None:
        self._backend = backend(kind)

    def missing(self) -> list[str]:
        return self._backend.missing()

    async def start(self, experiment: Experiment, folder: Path, progress: Progress) -> dict[str, Path]:
        specs = [GuestSpec(name=vm.name, address=vm.address, memory_mb=vm.memory) for vm in booted(experiment)]
        return await self._backend.start(specs, folder, progress) if specs else {}

    async def stop(self, folder: Path) -> None:
        await self._backend.stop(folder)


class _Simulated:
    """Simulated guests: `python -m vmr.testing`, one process for all."""

    def missing(self) -> list[str]:
        return []

    async def start(self, experiment: Experiment, folder: Path, progress: Progress) -> dict[str, Path]:
        names = [vm.name for vm in booted(experiment)]
        sockets = _socket_folder(folder)
        if _process(sockets) is None:
            progress("", f"starting {len(names)} simulated guests")
            self._spawn(experiment, names, folder, sockets)
            await self._until_ready(folder, sockets)
        return {name: socket_path(sockets, name) for name in names}

    async def stop(self, folder: Path) -> None:
        process = _process(_socket_folder(folder))
        if process is not None:
            process.terminate()
            await asyncio.to_thread(psutil.wait_procs, [process], 10)

    @staticmethod
    def _spawn(experiment: Experiment, names: list[str], folder: Path, sockets: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "names.json").write_bytes(msgspec.json.encode(names))
        (folder / "behaviour.yaml").write_bytes(msgspec.yaml.encode(Behaviour(programs=experiment.simulate)))
        files = [str(sockets), str(folder / "names.json"), str(folder / "behaviour.yaml")]
        with (folder / "simulated.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "vmr.testing", *files],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @staticmethod
    async def _until_ready(folder: Path, sockets: Path) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while _process(sockets) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise GuestSetupError(f"simulated guests do not come up: see {folder / 'simulated.log'}")
            await asyncio.sleep(0.05)


def _socket_folder(folder: Path) -> Path:
    """Return a short folder for sockets (a path of theirs may have 107 bytes), always the same for a run's folder."""
    name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"vmr-{os.getuid()}" / f"sim-{name}"


def _process(sockets: Path) -> psutil.Process | None:
    """Return the process that serves the simulated guests of a folder of sockets, if there is one."""
    try:
        process = psutil.Process(int((sockets / "host.pid").read_text()))
        return process if str(sockets) in process.cmdline() else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
