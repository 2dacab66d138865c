"""What handlers report of their VMs, and how many VMs the start of the experiment waits for.

The last argument of each function, and ``mapping``, are those of the documented interface: a `VMMapping` to use instead of the
one of the settings in force, and a logger that is told what was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import Logger

from vmr.errors import LogUnavailableError
from vmr.vm_mapping import VMMapping


class MappingUnavailableError(LogUnavailableError, RuntimeError):
    """The VMs of the experiment cannot be reached; both errors that the documented interface's users catch for that."""


def get_vm_count_not_ready(mapping: VMMapping | None = None, log: Logger | None = None) -> int:
    """Return how many VMs are not ready for the start: neither ``configured`` nor ``n/a``.

    Raises ``ConnectionError`` when the log or its projector cannot be reached.
    """
    with _mapping(mapping) as vms:
        count = vms.get_count_vm_not_ready()
    if log is not None:
        log.debug("%d VMs are not ready", count)
    return count


def set_vm_state(vm_uuid: str, new_state: str, mapping: VMMapping | None = None, log: Logger | None = None) -> None:
    """Set a VM's state: a `VMState` or any other string, which then counts as not ready.

    Raises ``RuntimeError`` when there is no such VM or the VMs cannot be reached, ``ValueError`` when the state is None.
    """
    with _mapping(mapping) as vms:
        vms.set_vm_state_by_uuid(vm_uuid, new_state)
    if log is not None:
        log.debug("VM %s is %s", vm_uuid, new_state)


def set_vm_time(
    vm_uuid: str, new_time: float | str, mapping: VMMapping | None = None, log: Logger | None = None
) -> None:
    """Set the time of its schedule that a VM has reached, in whole seconds.

    Raises ``RuntimeError`` when there is no such VM or the VMs cannot be reached, ``ValueError`` when the time is no number.
    """
    time = str(int(new_time))
    with _mapping(mapping) as vms:
        vms.set_vm_time_by_uuid(vm_uuid, time)
    if log is not None:
        log.debug("VM %s is at time %s", vm_uuid, time)


@contextmanager
def _mapping(given: VMMapping | None) -> Iterator[VMMapping]:
    try:
        yield VMMapping() if given is None else given
    except LogUnavailableError as error:
        raise MappingUnavailableError(str(error)) from error
