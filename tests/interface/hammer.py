"""Calls every function of the documented interface, at random, from eight threads: ``python -m tests.interface.hammer SEED SECONDS``.

What no call may do (raise an undocumented error, answer something impossible) ends the program with the reason.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from vmr import api, utils
from vmr.errors import UnknownVmError
from vmr.experiment_start import ExperimentStart
from vmr.schedule_db import ScheduleDb
from vmr.vm_mapping import VM_KEYS, VMMapping, VMState
from vmr.vm_resource_store import VmResourceStore

THREADS = 8
_UUIDS = [f"vm {number}" for number in range(12)]
_FILES = [f"file-{number}" for number in range(5)]
_STATES = [*VMState, "any other word"]


class _Caller:
    """One thread's objects and choices."""

    def __init__(self, seed: str) -> None:
        self.name = seed
        self.choose = random.Random(seed)
        self.mapping, self.start = VMMapping(), ExperimentStart()
        self.schedules, self.store = ScheduleDb(), VmResourceStore()
        # Clearing is rare, so that there is something to clear; reading and changing VMs is what is done most.
        self.calls: list[tuple[int, Callable[[], object]]] = [
            (8, self.change_state),
            (8, self.change_time),
            (4, self.add),
            (2, self.remove),
            (4, self.own_vm),
            (4, self.one),
            (4, self.all),
            (4, self.count),
            (6, self.times),
            (3, self.schedule),
            (3, self.resource),
            (1, self.clear),
        ]

    def call(self) -> None:
        weights, calls = zip(*self.calls, strict=True)
        self.choose.choices(calls, weights)[0]()

    def uuid(self) -> str:
        return self.choose.choice(_UUIDS)

    def change_state(self) -> None:
        try:
            utils.set_vm_state(self.uuid(), self.choose.choice(_STATES), self.choose.choice([None, self.mapping]))
        except UnknownVmError:
            return

    def change_time(self) -> None:
        time = self.choose.randrange(-20, 20)
        try:
            vm = self.mapping.set_vm_time_by_uuid(self.uuid(), time)
        except UnknownVmError:
            return
        assert vm["current_time"] == str(time)
        assert tuple(vm) == VM_KEYS

    def add(self) -> None:
        uuid = self.uuid()
        if self.choose.random() < 0.5:
            api.add_vm(uuid, f"name of {uuid}", "10.0.0.1", use_vm_manager=self.choose.random() < 0.8)
        else:
            other = self.uuid()
            self.mapping.batch_put({"server_uuid": each, "server_name": f"name of {each}"} for each in (uuid, other))

    def remove(self) -> None:
        self.mapping.destroy_one(self.uuid())

    def own_vm(self) -> None:
        """Only this thread changes this VM, so it must read what it wrote, unless all VMs were cleared meanwhile."""
        uuid, state = f"own {self.name}", f"state {self.choose.random()}"
        self.mapping.put(uuid, uuid, state)
        found = self.mapping.get(uuid) if self.choose.random() < 0.5 else self._from_all(uuid)
        assert found is None or found["state"] == state, (found, state)
        time = str(self.choose.randrange(1000))
        try:
            changed = self.mapping.set_vm_time_by_uuid(uuid, time)
        except UnknownVmError:
            return
        assert (changed["state"], changed["current_time"]) == (state, time), (changed, state, time)

    def _from_all(self, uuid: str) -> dict[str, str] | None:
        return next((vm for vm in self.mapping.get_all() if vm["server_uuid"] == uuid), None)

    def one(self) -> None:
        uuid = self.uuid()
        vm = self.mapping.get(uuid)
        assert vm is None or vm["server_name"] == f"name of {uuid}"

    def all(self) -> None:
        states = set(api.get_vm_states(VMState.CONFIGURED).values())
        assert states <= {"configured"}
        times = set(api.get_vm_times(0, mapping=self.mapping).values())
        assert times <= {"0"}

    def count(self) -> None:
        assert utils.get_vm_count_not_ready() >= 0
        assert self.mapping.get_all(length=True) >= 0

    def times(self) -> None:
        ask: Callable[[], datetime | int | None] = self.choose.choice(
            [
                self.start.add_start_time,
                self.start.get_start_time,
                self.start.set_launch_time,
                self.start.get_launch_time,
                self.start.get_time_since_start,
                self.start.get_time_to_start,
            ]
        )
        ask()

    def schedule(self) -> None:
        name = self.uuid()
        act = self.choose.randrange(4)
        if act == 0:
            self.schedules.put(name, f"text of {name} by {self.name}".encode(), None)
        elif act == 1:
            text = self.schedules.get(name)
            assert text is None or text.startswith(f"text of {name}".encode())
        elif act == 2:
            self.schedules.destroy_one(name)
        else:
            self.schedules.list_all("vm*")

    def resource(self) -> None:
        name = self.choose.choice(_FILES)
        act = self.choose.randrange(4)
        if act == 0:
            self.store.add_file_from_content(f"{name} by {self.name}", name)
        elif act == 1:
            self.store.remove_file(name)
        elif act == 2:
            assert set(self.store.list_distinct_contents()) <= set(_FILES)
        else:
            try:
                assert Path(self.store.get_path(name)).read_text().startswith(f"{name} by ")
            except FileNotFoundError:
                return

    def clear(self) -> None:
        if self.choose.random() < 0.3:
            api.destroy_all()
        else:
            self.choose.choice([self.mapping.destroy_all, self.start.clear_start_time, self.schedules.destroy_all])()


def main(seed: str, seconds: float) -> int:
    """Call for so many seconds; return how many calls that were."""
    until = time.monotonic() + seconds
    stop = threading.Event()

    def work(number: int) -> int:
        caller, calls = _Caller(f"{seed}.{number}"), 0
        try:
            while time.monotonic() < until and not stop.is_set():
                caller.call()
                calls += 1
        except BaseException:
            stop.set()
            raise
        return calls

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(work, range(THREADS)))


if __name__ == "__main__":
    sys.stdout.write(f"calls {main(sys.argv[1], float(sys.argv[2]))}\n")
