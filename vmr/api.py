"""The public functions of the resource manager: what an experiment's control needs, without an object to hold.

The arguments ``mapping``, ``start``, ``schedule`` and ``store`` are objects to use instead of those of the settings in force, ``log``
is a logger that is told what was done; all are optional. Every function raises a ``ConnectionError`` within seconds when the log (or
the projector that answers questions) cannot be reached, saying what to type.
"""

from __future__ import annotations

from datetime import datetime
from logging import Logger

from vmr.errors import LogUnavailableError
from vmr.events import DEFAULT_SCHEDULES, ExperimentCleared
from vmr.experiment_start import ExperimentStart
from vmr.schedule_db import ScheduleDb
from vmr.settings import load_settings
from vmr.shared_log import connection_key
from vmr.vm_mapping import VMMapping, VMState
from vmr.vm_resource_store import VmResourceStore


def add_vm(
    server_uuid: str,
    server_name: str,
    control_ip: str,
    use_vm_manager: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    mapping: VMMapping | None = None,
    log: Logger | None = None,
) -> None:
    """Add a VM, in the state ``uninitialized``; one that has this uuid already is replaced.

    ``control_ip`` is its address on the control network. With ``use_vm_manager=False`` its state is ``n/a``: the resource manager
    leaves it alone and does not wait for it.
    """
    state = VMState.UNINITIALIZED if use_vm_manager else VMState.NA
    (mapping or VMMapping()).put(server_uuid, server_name, state=state, server_address=control_ip)
    if log is not None:
        log.debug("Added VM %s (%s), %s", server_name, server_uuid, state)


def get_vm_states(
    filter_state: VMState | str | None = None, mapping: VMMapping | None = None, log: Logger | None = None
) -> dict[str, str]:
    """Return the state of every VM by its name.

    ``filter_state`` chooses VMs in exactly this `VMState`, or with this text in their state, whatever its case.
    """
    states = (mapping or VMMapping()).by_name("state", filter_state=filter_state)
    if log is not None:
        log.debug("Found the states of %d VMs", len(states))
    return states


def get_vm_times(
    filter_time: int | str | None = None, mapping: VMMapping | None = None, log: Logger | None = None
) -> dict[str, str]:
    """Return the time of its schedule that every VM has reached, by its name: seconds, empty before the first contact.

    ``filter_time`` chooses VMs at exactly this time; ``-10`` and ``"-10"`` are the same, and 0 is a time like any other.
    """
    times = (mapping or VMMapping()).by_name("current_time", filter_time=filter_time)
    if log is not None:
        log.debug("Found the times of %d VMs", len(times))
    return times


def destroy_all(
    mapping: VMMapping | None = None,
    schedule: ScheduleDb | None = None,
    start: ExperimentStart | None = None,
    log: Logger | None = None,
    ignore_grpc_connection_errors: bool = False,  # noqa: FBT001, FBT002 - the documented interface
) -> None:
    """Clear VMs, schedules, launch and start: the next run begins. The record of what was stays in the log.

    Where the log cannot be reached this raises ``ConnectionError``, unless ``ignore_grpc_connection_errors``.
    """
    try:
        _destroy_all(mapping, schedule, start)
    except LogUnavailableError as error:
        if not ignore_grpc_connection_errors:
            raise
        if log is not None:
            log.warning("Nothing was cleared: %s", error)


def _destroy_all(mapping: VMMapping | None, schedule: ScheduleDb | None, start: ExperimentStart | None) -> None:
    vms, schedules, times = mapping or VMMapping(), schedule or ScheduleDb(), start or ExperimentStart()
    places = {connection_key(each) for each in (vms.shared_log.settings, times.shared_log.settings, load_settings())}
    if len(places) == 1 and schedules.cache_name == DEFAULT_SCHEDULES:
        vms.shared_log.publish(ExperimentCleared())  # all at once: this is what begins the next run
        return
    vms.destroy_all()
    schedules.destroy_all()
    times.clear_start_time()


def add_experiment_start_time(start: ExperimentStart | None = None) -> datetime:
    """Report the start of the experiment, ``experiment_start_buffer_sec`` from now, and return the start: the first report's."""
    return (start or ExperimentStart()).add_start_time()


def get_experiment_start_time(start: ExperimentStart | None = None) -> datetime | None:
    """Return the start of the experiment (UTC, whole seconds), None before it is known."""
    return (start or ExperimentStart()).get_start_time()


def set_experiment_launch_time(start: ExperimentStart | None = None) -> datetime:
    """Report that the experiment is launched now, and return that time (UTC, whole seconds)."""
    return (start or ExperimentStart()).set_launch_time()


def get_experiment_launch_time(start: ExperimentStart | None = None) -> datetime | None:
    """Return the launch time (UTC, whole seconds), None before it is known."""
    return (start or ExperimentStart()).get_launch_time()


def get_experiment_time_to_start(start: ExperimentStart | None = None) -> int | None:
    """Return the seconds from launch to start, None before both are known."""
    return (start or ExperimentStart()).get_time_to_start()


def get_experiment_time_since_start(start: ExperimentStart | None = None) -> int | None:
    """Return the seconds since the start, negative while it is still to come; None before it is known."""
    return (start or ExperimentStart()).get_time_since_start()


def add_vm_resource_file(filename: str, store: VmResourceStore | None = None, log: Logger | None = None) -> None:
    """Put a file of this host into the resource store, under its own name; ``OSError`` when it cannot be read."""
    (store or VmResourceStore()).add_file(filename)
    if log is not None:
        log.debug("Added %s to the resource store", filename)


def vm_resource_list(store: VmResourceStore | None = None, log: Logger | None = None) -> list[str]:
    """Return the names of the files in the resource store, each once."""
    names = list((store or VmResourceStore()).list_distinct_contents())
    if log is not None:
        log.debug("Found %d files in the resource store", len(names))
    return names
