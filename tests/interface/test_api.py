"""The functions of `vmr.api` and `vmr.utils`, with the settings in force and with objects that are given."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmr import api, utils
from vmr.events import ExperimentCleared
from vmr.experiment_start import ExperimentStart
from vmr.log import Log
from vmr.schedule_db import ScheduleDb
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping, VMState
from vmr.vm_resource_store import VmResourceStore


def _cleared(settings: Settings) -> list[ExperimentCleared]:
    with Log.connect(settings) as log:
        bodies = [recorded.event.body for batch in log.read() for recorded in batch]
    return [body for body in bodies if isinstance(body, ExperimentCleared)]


def test_vms_by_name(served: Settings) -> None:
    """States and times are dictionaries by name, filtered as VMMapping filters; a VM without the manager is ready."""
    api.add_vm("u1", "client", "10.0.0.1")
    api.add_vm("u2", "router", "10.0.0.2", use_vm_manager=False)
    assert api.get_vm_states() == {"client": "uninitialized", "router": "n/a"}
    assert api.get_vm_states(filter_state="N/A") == {"router": "n/a"}
    assert api.get_vm_states(VMState.CONFIGURED) == {}
    assert utils.get_vm_count_not_ready() == 1
    assert VMMapping().get("u2") == {
        "db": served.db,
        "server_uuid": "u2",
        "server_name": "router",
        "control_ip": "10.0.0.2",
        "state": "n/a",
        "current_time": "",
    }


def test_times_by_name(served: Settings) -> None:
    """Times are stored as whole seconds; 0 filters like any other."""
    api.add_vm("u1", "client", "")
    api.add_vm("u2", "router", "")
    utils.set_vm_time("u1", -10.0)
    utils.set_vm_time("u2", "0")
    assert api.get_vm_times() == {"client": "-10", "router": "0"}, served
    assert api.get_vm_times(0) == api.get_vm_times("0") == {"router": "0"}
    assert api.get_vm_times(filter_time=-10) == {"client": "-10"}
    with pytest.raises(ValueError, match="soon"):
        utils.set_vm_time("u1", "soon")


def test_unknown_vms_are_runtime_errors_without_a_trace(served: Settings) -> None:
    """A handler that comes too late does not hold up the next experiment."""
    with pytest.raises(RuntimeError, match="ghost"):
        utils.set_vm_state("ghost", "configuring")
    with pytest.raises(RuntimeError, match="ghost"):
        utils.set_vm_time("ghost", 1)
    assert utils.get_vm_count_not_ready() == 0
    assert VMMapping(db=served.db).get_all() == []


def test_states_are_any_words(served: Settings) -> None:
    """What is no state of the manager's counts as not ready; None is no state."""
    api.add_vm("u1", "client", "")
    utils.set_vm_state("u1", "CONFIGURED")
    assert utils.get_vm_count_not_ready() == 0
    utils.set_vm_state("u1", "waiting for godot")
    assert utils.get_vm_count_not_ready() == 1
    with pytest.raises(ValueError, match="None"):
        utils.set_vm_state("u1", None)  # type: ignore[arg-type]
    assert api.get_vm_states() == {"client": "waiting for godot"}, served


def test_times_of_the_experiment(in_force: Settings) -> None:
    """The functions are those of ExperimentStart on the database in force."""
    assert api.get_experiment_launch_time() is api.get_experiment_start_time() is None
    assert api.get_experiment_time_since_start() is api.get_experiment_time_to_start() is None
    launch, start = api.set_experiment_launch_time(), api.add_experiment_start_time()
    assert api.get_experiment_launch_time() == launch <= datetime.now(UTC)
    assert api.get_experiment_start_time() == start == ExperimentStart(db=in_force.db).get_start_time()
    assert api.get_experiment_time_to_start() == (start - launch).seconds
    assert api.get_experiment_time_since_start() in {-60, -59, -58}


def test_destroying_everything_begins_the_next_run(served: Settings) -> None:
    """VMs, schedules and times are gone, in one event; doing it again is no error."""
    api.add_vm("u1", "client", "")
    ScheduleDb().put("client", b"anything", None)
    api.add_experiment_start_time()
    api.destroy_all()
    assert api.get_vm_states() == {}
    assert ScheduleDb().list_all() == []
    assert api.get_experiment_start_time() is None
    api.destroy_all(VMMapping(), ScheduleDb(), ExperimentStart())
    assert _cleared(served) == [ExperimentCleared(), ExperimentCleared()]


def test_given_databases_are_destroyed_and_no_others(served: Settings) -> None:
    """Objects of another database and another store are cleared, each by itself; those in force stay."""
    api.add_vm("u1", "client", "")
    ScheduleDb().put("client", b"here", None)
    start = api.add_experiment_start_time()
    name = f"{served.db}_other"
    mapping, schedule, times = VMMapping(db=name), ScheduleDb("other"), ExperimentStart(db=name)
    api.add_vm("u2", "there", "", mapping=mapping)
    schedule.put("there", b"there", None)
    api.add_experiment_start_time(times)
    api.destroy_all(mapping, schedule, times)
    assert [mapping.get("u2"), schedule.get("there"), times.get_start_time()] == [None, None, None]
    assert api.get_vm_states() == {"client": "uninitialized"}
    assert ScheduleDb().get("client") == b"here"
    assert api.get_experiment_start_time() == start


def test_resource_files(in_force: Settings, tmp_path: Path) -> None:
    """A file is listed once, however often it is added."""
    source = tmp_path / "tool.sh"
    source.write_text("#!/bin/sh\n")
    assert api.vm_resource_list() == []
    api.add_vm_resource_file(str(source))
    api.add_vm_resource_file(str(source))
    assert api.vm_resource_list() == ["tool.sh"]
    assert api.vm_resource_list(store=VmResourceStore(f"other {in_force.db}")) == []
    with pytest.raises(OSError, match="nowhere"):
        api.add_vm_resource_file(str(tmp_path / "nowhere"))


def test_a_logger_is_told(served: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Each function that takes a logger says what it did."""
    log = logging.getLogger("given")
    with caplog.at_level(logging.DEBUG, logger="given"):
        api.add_vm("u1", "client", "", log=log)
        api.get_vm_states(log=log)
        api.get_vm_times(log=log)
        utils.set_vm_state("u1", "failed", log=log)
        utils.set_vm_time("u1", -3, log=log)
        utils.get_vm_count_not_ready(log=log)
        api.vm_resource_list(log=log)
    assert len(caplog.records) == 7, served
    assert {record.name for record in caplog.records} == {"given"}


def test_an_unreachable_log_can_be_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """destroy_all() says what it could not do, to the logger, when errors of the connection are to be ignored."""
    monkeypatch.setenv("VMR_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match="vmr up"):
        api.destroy_all()
    api.destroy_all(ignore_grpc_connection_errors=True, log=logging.getLogger("given"))
    assert "vmr up" in caplog.text
