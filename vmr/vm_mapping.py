"""The VMs of an experiment: who they are, their state, and the time of their schedule that they have reached.

Writes are events. Lists and counts are answers of the read model; one VM is read from its last events in the log, so that loops
over VMs cost no queries. Either reflects everything that any process's finished call wrote before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Literal, Self, overload

import msgspec

from vmr.errors import InvalidInputError
from vmr.events import ExperimentCleared, VmAdded, VmRemoved, VmStateSet, VmTimeTicked
from vmr.experiment_fold import ExperimentFold
from vmr.interface_settings import interface_settings
from vmr.shared_log import SharedLog
from vmr.vm_records import VmRecord, VmRecords


class VMState(StrEnum):
    """The states that the resource manager itself gives to VMs. Any other string is accepted as well, and counts as not ready."""

    UNINITIALIZED = "uninitialized"
    NA = "n/a"
    CONFIGURING = "configuring"
    CONFIGURED = "configured"
    FAILED = "failed"
    TESTING = "testing"


VM_KEYS: Final = ("db", "server_uuid", "server_name", "control_ip", "state", "current_time")
"""The keys of a VM as a dictionary; all values are strings."""
_QUERIES: Final = (
    ("vm_states", {"db", "server_uuid", "server_name", "state"}),
    ("vm_times", {"db", "server_uuid", "server_name", "current_time"}),
    ("vms", set(VM_KEYS)),
)


class VMMapping:
    """The VMs of one database.

    Usable by many threads, in forked children and with ``with``; all objects of a process share one connection per database.

    Args:
        hostname: the NATS server's name or address; ``''`` means the server of the settings in force (`vmr.settings`).
        port: the NATS server's port; the default means the settings in force, too (see `vmr.interface_settings`).
        db: name of the database; ``'prod'`` means the settings' one, which is ``prod`` unless they say otherwise.

    Raises `LogUnavailableError` (a ``ConnectionError``) within seconds, saying what to type, when there is no log to be had.

    """

    def __init__(self, hostname: str = "", port: int = 50051, db: str = "prod") -> None:
        self._shared = SharedLog(interface_settings(hostname, port, db))
        self.db = self._shared.db

    def __del__(self) -> None:
        """Give up this object's share in the connection."""
        if hasattr(self, "_shared"):
            self._shared.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shared_log(self) -> SharedLog:
        """This object's share in the process's connection."""
        return self._shared

    def close(self) -> None:
        """Give up this object's share in the connection; other objects keep theirs. Closing twice does nothing."""
        self._shared.close()

    def put(
        self,
        server_uuid: str,
        server_name: str,
        state: str = "uninitialized",
        current_time: str = "",
        server_address: str = "",
    ) -> None:
        """Add a VM; one that has this uuid already is replaced.

        ``state`` is a `VMState` or any other string, ``current_time`` the time of its schedule that it has reached (seconds, as a
        string; empty before its first contact), ``server_address`` its address on the control network. Raises ``ValueError``.
        """
        entry = {"state": state, "current_time": current_time, "control_ip": server_address}
        self.batch_put([{"server_uuid": server_uuid, "server_name": server_name, **entry}])

    def prepare_put(self, entry: Mapping[str, Any]) -> dict[str, str]:
        """Return ``entry`` with all that `batch_put` stores of it: server_uuid, server_name, state, current_time, control_ip.

        Left out, the state is ``uninitialized`` and the others are empty. Raises ``ValueError`` when ``server_uuid`` or
        ``server_name`` is missing, or when the state is None.
        """
        for required in ("server_uuid", "server_name"):
            if entry.get(required) is None:
                raise InvalidInputError(f"VM {dict(entry)!r} has no {required!r}: every VM needs one")
        return {
            "server_uuid": str(entry["server_uuid"]),
            "server_name": str(entry["server_name"]),
            "state": _state(entry.get("state", VMState.UNINITIALIZED)),
            "current_time": _time(entry.get("current_time")),
            "control_ip": str(entry.get("control_ip") or ""),
        }

    def batch_put(self, server_list: Iterable[Mapping[str, Any]]) -> None:
        """Add many VMs, dictionaries as `prepare_put` takes them. One that is wrong raises ``ValueError`` and none is added."""
        entries = [self.prepare_put(entry) for entry in server_list]
        bodies = [msgspec.convert(entry, VmAdded) for entry in entries]
        records = self._shared.kept(VmRecords)
        self._shared.run(lambda log: records.add(log, bodies))

    def get(self, server_uuid: str | None = None) -> dict[str, str] | None:
        """Return the VM of this uuid as a dictionary with `VM_KEYS`, None when there is none; ``ValueError`` without a uuid."""
        if server_uuid is None:
            raise InvalidInputError("get() needs the server_uuid of the VM")
        record = self._read(str(server_uuid))
        return None if record is None else self._as_dict(record)

    @overload
    def get_all(
        self,
        filter_time: int | str | None = None,
        filter_state: VMState | str | None = None,
        project_dict: Iterable[str] | None = None,
        length: Literal[False] = False,  # noqa: FBT002 - the documented interface
    ) -> list[dict[str, str]]: ...

    @overload
    def get_all(
        self,
        filter_time: int | str | None = None,
        filter_state: VMState | str | None = None,
        project_dict: Iterable[str] | None = None,
        *,
        length: Literal[True],
    ) -> int: ...

    def get_all(
        self,
        filter_time: int | str | None = None,
        filter_state: VMState | str | None = None,
        project_dict: Iterable[str] | None = None,
        length: bool = False,  # noqa: FBT001, FBT002 - the documented interface
    ) -> list[dict[str, str]] | int:
        """Return the VMs in the order in which they were added, each as `get` returns it, or their number if ``length``.

        ``filter_time`` chooses VMs that are at this time of their schedule (``-10`` and ``"-10"`` alike), ``filter_state`` those in
        exactly this `VMState`, or with this text in their state, whatever its case. ``project_dict`` names the keys to return.
        """
        wanted = set(project_dict or VM_KEYS)
        keys = [key for key in VM_KEYS if key in wanted]
        places, rows = self._rows(keys, filter_time, filter_state)
        if length:
            return len(rows)
        chosen = [(key, places[key]) for key in keys if key != "db"]
        fixed = {"db": self.db} if "db" in keys else {}
        return [fixed | {key: row[place] for key, place in chosen} for row in rows]

    def by_name(
        self,
        key: Literal["server_uuid", "control_ip", "state", "current_time"],
        filter_time: int | str | None = None,
        filter_state: VMState | str | None = None,
    ) -> dict[str, str]:
        """Return what is under ``key`` for every VM, by its name, as `get_all` chooses them: quicker where there are thousands."""
        places, rows = self._rows(["server_name", key], filter_time, filter_state)
        name, value = places["server_name"], places[key]
        return {row[name]: row[value] for row in rows}

    def _rows(
        self, keys: Sequence[str], time: int | str | None, state: VMState | str | None
    ) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
        """Return where each column is, and the chosen VMs' rows of the query that has all of ``keys`` and no more than need be."""
        needed = {*keys, *(["state"] if state is not None else []), *(["current_time"] if time is not None else [])}
        answer = self._shared.query(next(name for name, columns in _QUERIES if needed <= columns))
        places = {name: place for place, name in enumerate(answer.columns)}
        rows = answer.rows
        if time is not None:
            rows = [row for row in rows if row[places["current_time"]] == str(time)]
        if isinstance(state, VMState):
            rows = [row for row in rows if row[places["state"]] == state]
        elif state is not None:
            rows = [row for row in rows if state.lower() in row[places["state"]].lower()]
        return places, rows

    def get_count_vm_not_ready(self) -> int:
        """Return how many VMs are not ready for the start: neither ``configured`` nor ``n/a``."""
        count: int = self._shared.query("not_ready").rows[0][0]
        return count

    def set_vm_state_by_uuid(self, uuid: str, state: str) -> dict[str, str]:
        """Set a VM's state (a `VMState` or any other string) and return the VM as `get` does.

        Raises `UnknownVmError` (a ``RuntimeError``) when there is no such VM, ``ValueError`` when the state is None.
        """
        return self._change(VmStateSet(server_uuid=str(uuid), state=_state(state)))

    def set_vm_time_by_uuid(self, uuid: str, time: int | str | None) -> dict[str, str]:
        """Set the time of its schedule that a VM has reached (seconds; None clears it) and return the VM as `get` does.

        Raises `UnknownVmError` (a ``RuntimeError``) when there is no such VM.
        """
        return self._change(VmTimeTicked(server_uuid=str(uuid), current_time=_time(time)))

    def _read(self, uuid: str) -> VmRecord | None:
        records, experiment = self._shared.kept(VmRecords), self._shared.kept(ExperimentFold)
        return self._shared.run(lambda log: records.read(log, experiment, uuid))

    def _change(self, body: VmStateSet | VmTimeTicked) -> dict[str, str]:
        records, experiment = self._shared.kept(VmRecords), self._shared.kept(ExperimentFold)
        return self._as_dict(self._shared.run(lambda log: records.change(log, experiment, body)))

    def destroy_one(self, server_uuid: str) -> None:
        """Remove the VM of this uuid; without one, nothing happens."""
        if self._read(str(server_uuid)) is not None:
            self._shared.publish(VmRemoved(server_uuid=str(server_uuid)))

    def destroy_all(self) -> None:
        """Remove all VMs. What they were and did stays in the log."""
        self._shared.publish(ExperimentCleared(scope=("vms",)))

    def _as_dict(self, vm: VmRecord) -> dict[str, str]:
        return {key: self.db if key == "db" else getattr(vm, key) for key in VM_KEYS}


def _state(state: object) -> str:
    if state is None:
        raise InvalidInputError("None is not a state of a VM: give a VMState or another string")
    return state.value if isinstance(state, VMState) else str(state)


def _time(time: int | str | None) -> str:
    return "" if time is None else str(time)
