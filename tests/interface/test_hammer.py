"""Two processes of eight threads hammer every function; then the log, folded offline, equals what the interface answers.

``VMR_HAMMER_SECONDS=60`` makes it a full minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from vmr import api, utils
from vmr.events import (
    ExperimentCleared,
    ExperimentLaunched,
    ExperimentStarted,
    KnownBody,
    ResourceRemoved,
    ResourceUploaded,
    SchedulePublished,
    ScheduleRemoved,
    Unknown,
    VmAdded,
    VmRemoved,
    VmStateSet,
    VmTimeTicked,
)
from vmr.log import Log
from vmr.schedule import ObjectRef
from vmr.schedule_db import ScheduleDb
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping
from vmr.vm_resource_store import VmResourceStore

SECONDS = float(os.environ.get("VMR_HAMMER_SECONDS", "6"))


class _Fold:
    """What the events say, as plainly as it can be put."""

    def __init__(self) -> None:
        self.vms: dict[str, dict[str, str]] = {}
        self.launch: datetime | None = None
        self.start: datetime | None = None
        self.schedules: dict[str, ObjectRef | None] = {}
        self.resources: dict[str, ObjectRef] = {}

    def apply(self, body: KnownBody | Unknown) -> None:
        match body:
            case VmAdded():
                self.vms.pop(body.server_uuid, None)
                fields = ("server_uuid", "server_name", "control_ip", "state", "current_time")
                self.vms[body.server_uuid] = {field: getattr(body, field) for field in fields}
            case VmRemoved():
                self.vms.pop(body.server_uuid, None)
            case VmStateSet() if body.server_uuid in self.vms:
                self.vms[body.server_uuid]["state"] = body.state
            case VmTimeTicked() if body.server_uuid in self.vms:
                self.vms[body.server_uuid]["current_time"] = body.current_time
            case ExperimentLaunched():
                self.launch = body.launch_time
            case ExperimentStarted():
                self.start = self.start or body.start_time
            case ExperimentCleared():
                self._clear(body)
            case _:
                self._file(body)

    def _clear(self, body: ExperimentCleared) -> None:
        if "vms" in body.scope:
            self.vms.clear()
        if "schedules" in body.scope:
            self.schedules.clear()
        if "times" in body.scope:
            self.launch = self.start = None

    def _file(self, body: KnownBody | Unknown) -> None:
        match body:
            case SchedulePublished():
                self.schedules[body.server_name] = body.opaque
            case ScheduleRemoved():
                self.schedules.pop(body.server_name, None)
            case ResourceUploaded():
                self.resources[body.name] = body.object
            case ResourceRemoved():
                self.resources.pop(body.name, None)
            case _:
                pass


def test_what_was_hammered_in_is_what_the_log_says(served: Settings) -> None:
    """No call fails in a way that is not documented, and at the end every answer is that of the events."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.interface.hammer"]
    processes = [
        subprocess.Popen([*command, seed, str(SECONDS)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in ("first", "second")
    ]
    for process in processes:
        output, errors = process.communicate(timeout=SECONDS + 60)
        assert process.returncode == 0, errors.decode()
        assert int(output.split()[-1]) > 10 * SECONDS
    fold = _Fold()
    with Log.connect(served) as log:
        for batch in log.read():
            for recorded in batch:
                fold.apply(recorded.event.body)
        texts = {name: None if ref is None else log.get_object(ref) for name, ref in fold.schedules.items()}
    _compare(fold, texts)


def _compare(fold: _Fold, texts: dict[str, bytes | None]) -> None:
    with VMMapping() as mapping:
        vms = [{"db": mapping.db, **vm} for vm in fold.vms.values()]
        assert mapping.get_all() == vms
        assert [mapping.get(uuid) for uuid in fold.vms] == vms
        ready = {"configured", "n/a"}
        assert utils.get_vm_count_not_ready(mapping) == sum(vm["state"] not in ready for vm in vms)
        assert api.get_vm_states(mapping=mapping) == {vm["server_name"]: vm["state"] for vm in vms}
        assert api.get_vm_times(mapping=mapping) == {vm["server_name"]: vm["current_time"] for vm in vms}
    assert api.get_experiment_start_time() == _utc(fold.start)
    assert api.get_experiment_launch_time() == _utc(fold.launch)
    assert {row["server_name"]: row["text"] for row in ScheduleDb().list_all()} == texts
    store = VmResourceStore()
    assert {name: store.get_file_hash(name) for name in store.list_distinct_contents()} == {
        name: msgspec.structs.asdict(ref)["sha256"] for name, ref in fold.resources.items()
    }


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)
