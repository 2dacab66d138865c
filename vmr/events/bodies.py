"""What can happen: one type of body for every type of event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from vmr.schedule import Entry, ObjectRef, Sha256

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Attempt: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
StreamName: TypeAlias = Literal["stdout", "stderr"]


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of every event body. A subclass states its type as tag, its version, and which of its fields is the subject's key."""

    VERSION: ClassVar[int] = 1
    KEY: ClassVar[str | None] = None

    @classmethod
    def type_name(cls) -> str:
        """Return the event's type, ``<entity>.<event>``."""
        tag = cls.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class AgentAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a VM's guest agent listens.

    Attributes:
        host: name of the handler host that serves this VM.
        path: the agent's Unix socket on that host.
        engine: which driver talks to it, as its ``get_engine()`` says.

    """

    host: str
    path: str
    engine: str = "QemuVM"


# --- virtual machines -------------------------------------------------------------------------------------------------------


class _VmBody(Body, frozen=True, kw_only=True, omit_defaults=True):
    KEY: ClassVar[str | None] = "server_uuid"

    server_uuid: str


class VmAdded(_VmBody, frozen=True, tag="vm.added"):
    """A VM is known. Adding the same uuid again replaces what was said of it.

    Attributes:
        server_name: the VM's name; its schedule is found by it.
        control_ip: address on the control network, or empty.
        state: the state it begins in: ``uninitialized``, or ``n/a`` for a VM that the resource manager leaves alone.
        current_time: the VM time it begins with; empty before the first contact.
        agent: where its guest agent listens; None for a VM that no handler serves.

    """

    server_name: str
    control_ip: str = ""
    state: str = "uninitialized"
    current_time: str = ""
    agent: AgentAddress | None = None


class VmRemoved(_VmBody, frozen=True, tag="vm.removed"):
    """A VM is no longer part of the experiment."""


class VmStateSet(_VmBody, frozen=True, tag="vm.state_set"):
    """A VM's state: ``configuring``, ``configured``, ``failed``, … (any string; unknown ones count as not ready)."""

    state: str
    reason: str = ""


class VmWaived(_VmBody, frozen=True, tag="vm.waived"):
    """The experiment no longer waits for this VM: it counts as ready, whatever its state, until it is added anew."""

    reason: str = ""


class VmTimeTicked(_VmBody, frozen=True, tag="vm.time_ticked"):
    """A VM has reached a time of its schedule (a decimal string; empty clears it)."""

    current_time: str


class VmPaused(_VmBody, frozen=True, tag="vm.paused"):
    """An operator holds one VM's schedule from now on: for ``duration`` seconds, or until resumed when None."""

    duration: float | None = None


class VmResumed(_VmBody, frozen=True, tag="vm.resumed"):
    """An operator ends a break or pause of one VM's schedule."""


class HandlerAttached(_VmBody, frozen=True, tag="vm.handler_attached"):
    """A handler has taken the VM; whoever had it before is fenced off.

    Attributes:
        handler: the handler's identity, unique over all handlers and time.
        host: where it runs.

    """

    handler: str
    host: str


class HandlerDetached(_VmBody, frozen=True, tag="vm.handler_detached"):
    """A handler has let the VM go."""

    handler: str
    reason: str = ""


class _AttemptBody(_VmBody, frozen=True, kw_only=True, omit_defaults=True):
    """One execution of one schedule entry."""

    entry: str
    attempt: Attempt


class EntryStarted(_AttemptBody, frozen=True, tag="vm.entry_started"):
    """A handler is about to launch an attempt. The attempt is claimed in the guest at most once, however often it is sent.

    Attributes:
        name: the entry's short name.
        start_time: the scheduled time, as a decimal string.
        due: when it was due after pauses (UTC); None in negative time, which is an order and not a clock.
        directory: the attempt's working directory in the guest; empty for an entry that runs no program.
        boot_id: identity of the guest's boot in which it is launched, where the guest has one.

    """

    name: str
    start_time: str
    due: datetime | None = None
    directory: str = ""
    boot_id: str = ""


class OutputCaptured(_AttemptBody, frozen=True, tag="vm.output_captured"):
    """A piece of what an attempt wrote, byte for byte: ``text`` where it is valid UTF-8, else ``data`` (base64).

    Attributes:
        stream: ``stdout`` or ``stderr``.
        offset: position of the first byte in the stream of the attempt.
        size: number of bytes.

    """

    stream: StreamName
    offset: Count
    size: Count
    text: str | None = None
    data: bytes | None = None


class EntryFinished(_AttemptBody, frozen=True, tag="vm.entry_finished"):
    """An attempt ended by itself.

    Attributes:
        exit_code: the exit code; 128 + n when signal n ended it; None for an entry that runs no program.
        stdout_size: bytes written to standard output, all captured.
        stderr_size: bytes written to standard error, all captured.
        reboot: whether it asks for a reboot of its guest (exit code 10, or a file named ``reboot``).
        duration: seconds from launch to exit as the guest measured them; None where it did not.
        timed_out: whether the program was killed because its time was over.

    """

    exit_code: int | None = None
    stdout_size: Count = 0
    stderr_size: Count = 0
    reboot: bool = False
    duration: float | None = None
    timed_out: bool = False


class EntryFailed(_AttemptBody, frozen=True, tag="vm.entry_failed"):
    """An attempt could not be launched: a file did not load, the agent refused, the entry makes no sense for this guest."""

    error: str


class EntryLost(_AttemptBody, frozen=True, tag="vm.entry_lost"):
    """An attempt was launched and its end cannot be known: the guest rebooted or was reverted meanwhile."""

    reason: str
    stdout_size: Count = 0
    stderr_size: Count = 0


class VmRebooted(_VmBody, frozen=True, tag="vm.rebooted"):
    """A guest went down and its agent answers again.

    Attributes:
        entries: ids of the entries that asked for it; empty when the guest did it by itself.
        boot_id: the guest's identity of this boot, where it has one.

    """

    entries: tuple[str, ...] = ()
    boot_id: str = ""


class FileTransferred(_VmBody, frozen=True, tag="vm.file_transferred"):
    """A file was copied out of a guest.

    Attributes:
        entry: the schedule entry that asked for it.
        guest_path: where it was in the guest.
        host_path: where the copy is on the handler's host.
        size: bytes.
        sha256: of the copy.

    """

    entry: str
    guest_path: str
    host_path: str
    size: Count
    sha256: Sha256


# --- schedules --------------------------------------------------------------------------------------------------------------

DEFAULT_SCHEDULES: Final = "schedules"
"""The namespace of the schedules that are run."""


class SchedulePublished(Body, frozen=True, tag="schedule.published"):
    """The schedule of the VM of this name; it replaces the one before.

    Attributes:
        server_name: the VM's name.
        entries: what to run; empty for a VM with nothing to configure.
        entries_object: where ``entries`` are (JSON) when they are too large for one event.
        opaque: where bytes are that are no schedule of vmr's; kept and returned unchanged, and refused by handlers.
        ip: address of the VM, kept for its publisher.
        store: the namespace of schedules that it belongs to; handlers and the read model follow `DEFAULT_SCHEDULES` only.

    """

    KEY: ClassVar[str | None] = "server_name"

    server_name: str
    entries: tuple[Entry, ...] = ()
    entries_object: ObjectRef | None = None
    opaque: ObjectRef | None = None
    ip: str | None = None
    store: str = DEFAULT_SCHEDULES


class ScheduleRemoved(Body, frozen=True, tag="schedule.removed"):
    """The VM of this name has no schedule any more (in this ``store``)."""

    KEY: ClassVar[str | None] = "server_name"

    server_name: str
    store: str = DEFAULT_SCHEDULES


# --- resources --------------------------------------------------------------------------------------------------------------


class ResourceUploaded(Body, frozen=True, tag="resource.uploaded"):
    """A file is in the resource store under this name; it replaces the one before."""

    KEY: ClassVar[str | None] = "store"

    store: str
    name: str
    object: ObjectRef


class ResourceRemoved(Body, frozen=True, tag="resource.removed"):
    """The resource store has no file of this name any more."""

    KEY: ClassVar[str | None] = "store"

    store: str
    name: str


# --- the experiment ---------------------------------------------------------------------------------------------------------


class ExperimentCleared(Body, frozen=True, tag="experiment.cleared"):
    """What was, is history: the parts named in ``scope`` are empty from here on. Clearing all three begins the next run."""

    scope: tuple[Literal["vms", "schedules", "times"], ...] = ("vms", "schedules", "times")


class ExperimentLaunched(Body, frozen=True, tag="experiment.launched"):
    """The experiment is being launched.

    Attributes:
        launch_time: the launch time as reported, UTC.
        name: name of the experiment.
        start_buffer: seconds between the last VM being configured and the start.
        experiment: the experiment file as it was given.
        guests: which kind of guests it runs on.
        failed_vms: whether the experiment waits for VMs that fail before the start, or waives them by itself.

    """

    launch_time: datetime
    name: str = ""
    start_buffer: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    experiment: ObjectRef | None = None
    guests: str = ""
    failed_vms: Literal["wait", "waive"] = "wait"


class ExperimentStarted(Body, frozen=True, tag="experiment.started"):
    """A start time is reported (UTC, whole seconds). The earliest such event of a run is the start."""

    start_time: datetime


class ExperimentPaused(Body, frozen=True, tag="experiment.paused"):
    """An operator holds every VM's schedule from now on: for ``duration`` seconds, or until resumed when None."""

    duration: float | None = None


class ExperimentResumed(Body, frozen=True, tag="experiment.resumed"):
    """An operator ends a break or pause of every VM's schedule."""


class ExperimentEnded(Body, frozen=True, tag="experiment.ended"):
    """Nothing is left to run, or an operator called it the end."""

    reason: str = ""


class SealedEvents(msgspec.Struct, frozen=True):
    """The events that a seal covers: sequences ``first`` (the first of the run) to ``last``."""

    first: Count
    last: Count


class SealedProjection(msgspec.Struct, frozen=True):
    """What one projection held of the covered events.

    Attributes:
        name: its name.
        sql: SHA-256 of its text: only what was folded by the same text can be compared.
        tables: hash of each of its tables by name, see `vmr.content_hash`.

    """

    name: str
    sql: Sha256
    tables: dict[str, Sha256]


class ExperimentSealed(Body, frozen=True, tag="experiment.sealed"):
    """What the record of the run comes to, as hashes, so that anybody who has it can see later that it still does.

    It is folded from the run's own events alone, counted from 1 as run 1: the same in any database, and in an archive.

    Attributes:
        events: which events are covered.
        projections: what each projection held of them.
        sha256: the hash of all tables together.

    """

    events: SealedEvents
    projections: tuple[SealedProjection, ...]
    sha256: Sha256


KnownBody: TypeAlias = (
    VmAdded
    | VmRemoved
    | VmStateSet
    | VmWaived
    | VmTimeTicked
    | VmPaused
    | VmResumed
    | HandlerAttached
    | HandlerDetached
    | EntryStarted
    | OutputCaptured
    | EntryFinished
    | EntryFailed
    | EntryLost
    | VmRebooted
    | FileTransferred
    | SchedulePublished
    | ScheduleRemoved
    | ResourceUploaded
    | ResourceRemoved
    | ExperimentCleared
    | ExperimentLaunched
    | ExperimentStarted
    | ExperimentPaused
    | ExperimentResumed
    | ExperimentEnded
    | ExperimentSealed
)

BODY_TYPES: Final[dict[str, type[KnownBody]]] = {body.type_name(): body for body in KnownBody.__args__}
"""Every known event type by name."""

Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {}
"""``(type, version)`` to the function that turns a body of that version into one of the next."""
