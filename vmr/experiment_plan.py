"""What an experiment file comes down to: its VMs, their schedules and the files these need, as plain immutable data."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final, Literal

import msgspec

from vmr.schedule import Entry
from vmr.testing.programs import SimulatedProgram

_NAMESPACE: Final = uuid.UUID("6f1c5a4e-0f5b-5c8e-9d0a-3b1d7c2e8f40")


class VmPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One VM of an experiment.

    Attributes:
        name: its name, unique in the experiment.
        uuid: its identity, unique in the experiment and the same every time the file is read.
        address: IPv4 address with prefix length (``10.0.0.1/24``), or None for a VM without a place on the network.
        memory: megabytes, for a guest that is booted for the run.
        agent: guest agent socket of a VM that exists already; None for a guest to be booted.
        managed: whether vmr configures and drives it; otherwise its state is ``n/a``.
        entries: its schedule, in the file's order.
        resources: the files that its entries name as resources: resource name to path on this host.

    """

    name: str
    uuid: str
    address: str | None = None
    memory: int = 128
    agent: Path | None = None
    managed: bool = True
    entries: tuple[Entry, ...] = ()
    resources: dict[str, Path] = {}

    @property
    def ip(self) -> str:
        """The address without its prefix length; empty when there is none."""
        return "" if self.address is None else self.address.partition("/")[0]


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment that has passed every check which can be made before it runs.

    Attributes:
        name: its name.
        vms: its VMs, in the file's order.
        description: for people.
        start_buffer: seconds between the last VM being configured and the start.
        end: experiment time, in seconds, at which the run ends although entries go on; None to end when nothing is left to run.
        failed_vms: whether the experiment waits for VMs that fail before the start, or waives them by itself.
        files: folders that resources were looked up in, in order.
        simulate: what programs do on simulated guests (`vmr.testing.Behaviour.programs`).
        text: the file as it was given, for the record.
        source: where it came from.

    """

    name: str
    vms: tuple[VmPlan, ...]
    description: str = ""
    start_buffer: float = 60.0
    end: float | None = None
    failed_vms: Literal["wait", "waive"] = "wait"
    files: tuple[Path, ...] = ()
    simulate: dict[str, SimulatedProgram] = {}
    text: str = ""
    source: Path | None = None

    @property
    def resources(self) -> dict[str, Path]:
        """Every file that any VM's entries name as a resource: resource name to path on this host."""
        return {name: path for vm in self.vms for name, path in vm.resources.items()}


def default_uuid(vm_name: str) -> str:
    """Return the identity of a VM that was given none: always the same for the same name."""
    return str(uuid.uuid5(_NAMESPACE, vm_name))
