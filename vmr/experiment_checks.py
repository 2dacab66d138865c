"""What must hold between the VMs of an experiment: names, identities, addresses and sockets of their own."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from vmr.experiment_build import BuiltVm
from vmr.experiment_plan import VmPlan
from vmr.yaml_decode import Reporter

MAX_NAME = 200
MAX_SOCKET_PATH = 107


def check_vms(vms: Sequence[BuiltVm], reporter: Reporter) -> None:
    """Report every rule that ``vms`` break."""
    for vm in vms:
        _check_name(vm, reporter)
        _check_address(vm, reporter)
        _check_agent(vm, reporter)
        if not vm.plan.managed and vm.plan.entries:
            reporter.report((*vm.path, "managed"), "a VM that is not managed runs no schedule; take one of the two out")
    _check_unique(vms, "", "name", lambda plan: plan.name, reporter)
    _check_unique(vms, "uuid", "uuid", lambda plan: plan.uuid, reporter)
    _check_unique(vms, "address", "address", lambda plan: plan.ip, reporter)
    _check_unique(vms, "agent", "agent", lambda plan: str(plan.agent or ""), reporter)


def _check_name(vm: BuiltVm, reporter: Reporter) -> None:
    problem = name_problem(vm.plan.name)
    if problem:
        reporter.report(vm.path, problem)


def name_problem(name: str) -> str | None:
    """Return why ``name`` cannot name a VM, or None. Names are free text, as long as people and file systems can show them."""
    size = len(name.encode(errors="replace"))
    if 1 <= size <= MAX_NAME and name.isprintable() and name.strip() == name:
        return None
    return f"{name!r} cannot name a VM; use 1 to {MAX_NAME} bytes of printable text without spaces around it"


def _check_address(vm: BuiltVm, reporter: Reporter) -> None:
    if vm.plan.address is None:
        return
    problem = address_problem(vm.plan.address)
    if problem:
        reporter.report((*vm.path, "address"), problem)


def address_problem(address: str) -> str | None:
    """Return what is wrong with ``address`` as a VM's own address on the experiment's network, or None."""
    try:
        interface = ipaddress.IPv4Interface(address)
    except ValueError:
        return f"{address!r} is no IPv4 address with prefix length; write it as in 10.0.0.1/24"
    network = interface.network
    if "/" not in address or network.prefixlen > 30:
        return f"{address!r} has no prefix length below 31; write it as in 10.0.0.1/24"
    if interface.ip in {network.network_address, network.broadcast_address}:
        return f"{address!r} is the network's own or its broadcast address; pick one between"
    return None


def _check_agent(vm: BuiltVm, reporter: Reporter) -> None:
    agent = vm.plan.agent
    if agent is not None and len(str(agent).encode()) > MAX_SOCKET_PATH:
        reporter.report(
            (*vm.path, "agent"),
            f"{agent} is longer than a socket's path may be ({MAX_SOCKET_PATH} bytes); link to it from a shorter one",
        )


def _check_unique(
    vms: Sequence[BuiltVm], key: str, what: str, value_of: Callable[[VmPlan], str], reporter: Reporter
) -> None:
    owners: dict[str, BuiltVm] = {}
    for vm in vms:
        value = value_of(vm.plan)
        owner = owners.setdefault(value, vm)
        if not value or owner is vm or (key and owner.plan.name == vm.plan.name):
            continue
        path = (*vm.path, key) if key else vm.path
        if owner.path == vm.path and key:
            reporter.report(path, f"every VM of this group has the {what} {value}; put {{n}} into it")
        elif owner.path == vm.path or not key:
            reporter.report(path, f"the {what} {value!r} is taken twice; names are unique")
        else:
            reporter.report(path, f"{value} is also the {what} of {owner.plan.name}; give each VM its own")
