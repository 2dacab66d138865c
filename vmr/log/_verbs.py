"""What a publisher says most often, as one method each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from vmr.errors import EventTooLargeError, InvalidInputError
from vmr.events import (
    AgentAddress,
    ExperimentCleared,
    ExperimentLaunched,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentStarted,
    KnownBody,
    ResourceUploaded,
    SchedulePublished,
    VmAdded,
    VmPaused,
    VmRemoved,
    VmResumed,
    VmStateSet,
    VmTimeTicked,
    VmWaived,
)
from vmr.schedule import Entry, ObjectRef, check_entry

DEFAULT_STORE: Final = "vm_resources"
"""Name of the resource store that is used when none is named."""

Scope: TypeAlias = Literal["vms", "schedules", "times"]


class Verbs(ABC):
    """One method for each thing that is often said, over `publish`, `publish_many` and `put_object`."""

    @abstractmethod
    async def publish(self, body: KnownBody, *, time: datetime | None = None) -> int:
        """Record ``body`` and return its sequence."""

    @abstractmethod
    async def publish_many(self, bodies: Iterable[KnownBody]) -> list[int]:
        """Record ``bodies`` in this order and return their sequences."""

    @abstractmethod
    async def put_object(self, content: bytes | Path) -> ObjectRef:
        """Store ``content`` and return its reference."""

    async def add_vm(
        self,
        server_uuid: str,
        server_name: str,
        *,
        control_ip: str = "",
        state: str = "uninitialized",
        current_time: str = "",
        agent: AgentAddress | None = None,
    ) -> int:
        """Record that a VM is known; return the event's sequence."""
        return await self.publish(
            VmAdded(
                server_uuid=server_uuid,
                server_name=server_name,
                control_ip=control_ip,
                state=state,
                current_time=current_time,
                agent=agent,
            )
        )

    async def add_vms(self, vms: Iterable[VmAdded]) -> list[int]:
        """Record many VMs at once; return the events' sequences."""
        return await self.publish_many(vms)

    async def remove_vm(self, server_uuid: str) -> int:
        """Record that a VM is no longer part of the experiment."""
        return await self.publish(VmRemoved(server_uuid=server_uuid))

    async def set_vm_state(self, server_uuid: str, state: str, *, reason: str = "") -> int:
        """Record a VM's state."""
        return await self.publish(VmStateSet(server_uuid=server_uuid, state=state, reason=reason))

    async def set_vm_time(self, server_uuid: str, current_time: str) -> int:
        """Record the time of its schedule that a VM has reached."""
        return await self.publish(VmTimeTicked(server_uuid=server_uuid, current_time=current_time))

    async def waive_vm(self, server_uuid: str, reason: str = "") -> int:
        """Take a VM out of what the experiment waits for: it counts as ready, whatever its state, until it is added anew."""
        return await self.publish(VmWaived(server_uuid=server_uuid, reason=reason))

    async def pause_vm(self, server_uuid: str, duration: float | None = None) -> int:
        """Hold one VM's schedule for ``duration`` seconds, or until `resume_vm`."""
        return await self.publish(VmPaused(server_uuid=server_uuid, duration=duration))

    async def resume_vm(self, server_uuid: str) -> int:
        """End a break or pause of one VM's schedule."""
        return await self.publish(VmResumed(server_uuid=server_uuid))

    async def put_schedule(self, server_name: str, entries: Iterable[Entry], *, ip: str | None = None) -> int:
        """Record the schedule of the VM of this name; what is too large for an event goes to the object store.

        Raises `InvalidInputError` when an entry breaks a rule or two have the same id.
        """
        listed = tuple(entries)
        _check_entries(server_name, listed)
        body = SchedulePublished(server_name=server_name, entries=listed, ip=ip)
        try:
            return await self.publish(body)
        except EventTooLargeError:
            ref = await self.put_object(msgspec.json.encode(listed))
        return await self.publish(SchedulePublished(server_name=server_name, entries_object=ref, ip=ip))

    async def put_resource(self, path: Path | str, *, name: str | None = None, store: str = DEFAULT_STORE) -> int:
        """Store a file under ``name`` (default: its own) in a resource store; return the event's sequence."""
        file = Path(path)
        ref = await self.put_object(file)
        return await self.publish(ResourceUploaded(store=store, name=name or file.name, object=ref))

    async def launch(
        self,
        name: str = "",
        *,
        launch_time: datetime | None = None,
        start_buffer: float = 60.0,
        experiment: ObjectRef | None = None,
        guests: str = "",
        failed_vms: Literal["wait", "waive"] = "wait",
    ) -> int:
        """Record that the experiment is being launched (``launch_time``: aware, default now; ``start_buffer``: seconds).

        ``failed_vms`` says whether the experiment waits for VMs that fail before the start, or goes on without them.
        """
        return await self.publish(
            ExperimentLaunched(
                launch_time=_aware(launch_time),
                name=name,
                start_buffer=start_buffer,
                experiment=experiment,
                guests=guests,
                failed_vms=failed_vms,
            )
        )

    async def start(self, start_time: datetime | None = None) -> int:
        """Report a start time (aware, default now, whole seconds). The earliest report of a run is its start."""
        return await self.publish(ExperimentStarted(start_time=_aware(start_time).replace(microsecond=0)))

    async def pause(self, duration: float | None = None) -> int:
        """Hold every VM's schedule for ``duration`` seconds, or until `resume`."""
        return await self.publish(ExperimentPaused(duration=duration))

    async def resume(self) -> int:
        """End a break or pause of every VM's schedule."""
        return await self.publish(ExperimentResumed())

    async def clear(self, scope: Sequence[Scope] = ("vms", "schedules", "times")) -> int:
        """Make what was, history: clearing all three begins the next run."""
        return await self.publish(ExperimentCleared(scope=tuple(scope)))


def _aware(time: datetime | None) -> datetime:
    if time is None:
        return datetime.now(UTC)
    if time.tzinfo is None:
        raise InvalidInputError(f"{time.isoformat()} has no time zone: add one, such as tzinfo=datetime.UTC")
    return time.astimezone(UTC)


def _check_entries(server_name: str, entries: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        check_entry(entry)
        if entry.id in seen:
            raise InvalidInputError(
                f"schedule of {server_name!r}: two entries have the id {entry.id!r}; give each its own"
            )
        seen.add(entry.id)
