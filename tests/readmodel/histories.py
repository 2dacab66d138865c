"""Logs for the tests of the read model: written by hand, and random ones that contradict themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from vmr import events
from vmr.events import KnownBody, Recorded, Unknown
from vmr.schedule import Entry, ObjectRef, Pause, Transfer

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
SHA = "0" * 64


def record(bodies: Iterable[KnownBody | Unknown], first: int = 1) -> list[Recorded]:
    """Return ``bodies`` as the log would hold them, from sequence ``first`` on, a millisecond apart."""
    return [_recorded(body, sequence) for sequence, body in enumerate(bodies, first)]


def _recorded(body: KnownBody | Unknown, sequence: int) -> Recorded:
    time = at(sequence)
    version, subject = 1, "vmr.test.vm.x.later"
    if isinstance(body, Unknown):
        version = body.version
    else:
        subject = events.subject_of("test", body)
    identity = f"0190a0b0-0000-7000-8000-{sequence:012x}"
    event = events.Event(id=identity, time=time, producer="test", version=version, body=body)
    return Recorded(
        sequence=sequence, stored=int(time.timestamp() * 1000) * 1_000_000 + 789, subject=subject, event=event
    )


def at(sequence: int) -> datetime:
    """Return the time of the event of this sequence."""
    return BEGIN + timedelta(milliseconds=sequence)


_uuids = st.sampled_from(["a", "é.*>"])
_names = st.sampled_from(["host.net", "client"])
_entries = st.sampled_from(["-1/setup", "10/curl"])
_attempts = st.integers(1, 2)
_states = st.sampled_from(["configuring", "configured", "failed", "N/A"])
_sizes = st.integers(0, 9)
_maybe_seconds = st.none() | st.floats(0.001, 1e6)
_moments = st.integers(0, 1000).map(at)
_objects = st.integers(0, 9).map(lambda size: ObjectRef(sha256=SHA, size=size))
_agents = st.none() | st.builds(events.AgentAddress, host=st.just("lab1"), path=st.just("/run/a"))
_schedule_entries = st.sampled_from(
    [
        Entry(id="10/curl", start_time=10, executable="/usr/bin/curl", arguments="-s 'x'"),
        Entry(id="1/get", start_time=1.5, transfer=Transfer(location="/var/log")),
        Entry(id="-inf/break", start_time="-inf", pause=Pause()),
        Entry(id="2/pause", start_time=2, pause=Pause(duration=1.5)),
    ]
)
_texts = st.text(max_size=6) | st.sampled_from(['{"time": 0.1', "}\n", "5\n[1]\n", "\x00\n"])


@st.composite
def _outputs(draw: st.DrawFn) -> events.OutputCaptured:
    text = draw(st.none() | _texts)
    data = draw(st.binary(max_size=6)) if text is None else None
    return events.OutputCaptured(
        server_uuid=draw(_uuids),
        entry=draw(_entries),
        attempt=draw(_attempts),
        stream=draw(st.sampled_from(["stdout", "stderr"])),
        offset=draw(_sizes),
        size=len(data or (text or "").encode()),
        text=text,
        data=data,
    )


_strategies: dict[type[KnownBody], st.SearchStrategy[KnownBody]] = {
    events.VmAdded: st.builds(
        events.VmAdded, server_uuid=_uuids, server_name=_names, state=_states, current_time=st.just(""), agent=_agents
    ),
    events.VmRemoved: st.builds(events.VmRemoved, server_uuid=_uuids),
    events.VmStateSet: st.builds(events.VmStateSet, server_uuid=_uuids, state=_states, reason=st.text(max_size=3)),
    events.VmWaived: st.builds(events.VmWaived, server_uuid=_uuids, reason=st.text(max_size=3)),
    events.VmTimeTicked: st.builds(
        events.VmTimeTicked, server_uuid=_uuids, current_time=st.sampled_from(["", "-10", "5"])
    ),
    events.VmPaused: st.builds(events.VmPaused, server_uuid=_uuids, duration=_maybe_seconds),
    events.VmResumed: st.builds(events.VmResumed, server_uuid=_uuids),
    events.HandlerAttached: st.builds(events.HandlerAttached, server_uuid=_uuids, handler=_names, host=st.just("lab1")),
    events.HandlerDetached: st.builds(events.HandlerDetached, server_uuid=_uuids, handler=_names),
    events.EntryStarted: st.builds(
        events.EntryStarted,
        server_uuid=_uuids,
        entry=_entries,
        attempt=_attempts,
        name=_names,
        start_time=st.sampled_from(["-1", "10", "-inf"]),
        due=st.none() | _moments,
    ),
    events.OutputCaptured: _outputs(),
    events.EntryFinished: st.builds(
        events.EntryFinished,
        server_uuid=_uuids,
        entry=_entries,
        attempt=_attempts,
        exit_code=st.none() | st.sampled_from([0, 1, 137, 2**32 - 1, 2**70]),
        stdout_size=_sizes,
        reboot=st.booleans(),
        duration=_maybe_seconds,
    ),
    events.EntryFailed: st.builds(
        events.EntryFailed, server_uuid=_uuids, entry=_entries, attempt=_attempts, error=st.text(max_size=3)
    ),
    events.EntryLost: st.builds(events.EntryLost, server_uuid=_uuids, entry=_entries, attempt=_attempts, reason=_names),
    events.VmRebooted: st.builds(
        events.VmRebooted, server_uuid=_uuids, entries=st.lists(_entries, max_size=2).map(tuple), boot_id=_names
    ),
    events.FileTransferred: st.builds(
        events.FileTransferred,
        server_uuid=_uuids,
        entry=_entries,
        guest_path=st.text(max_size=4),
        host_path=_names,
        size=_sizes,
        sha256=st.just(SHA),
    ),
    events.SchedulePublished: st.builds(
        events.SchedulePublished,
        server_name=_names,
        entries=st.lists(_schedule_entries, max_size=3).map(tuple),
        entries_object=st.none() | _objects,
        ip=st.none() | st.just("10.0.0.1"),
    ),
    events.ScheduleRemoved: st.builds(events.ScheduleRemoved, server_name=_names),
    events.ResourceUploaded: st.builds(
        events.ResourceUploaded, store=st.just("vm_resources"), name=_names, object=_objects
    ),
    events.ResourceRemoved: st.builds(events.ResourceRemoved, store=st.just("vm_resources"), name=_names),
    events.ExperimentCleared: st.builds(
        events.ExperimentCleared,
        scope=st.sampled_from([("vms", "schedules", "times"), ("times",), ("vms",), ("schedules",), ("vms", "times")]),
    ),
    events.ExperimentLaunched: st.builds(events.ExperimentLaunched, launch_time=_moments, name=_names),
    events.ExperimentStarted: st.builds(events.ExperimentStarted, start_time=_moments),
    events.ExperimentPaused: st.builds(events.ExperimentPaused, duration=_maybe_seconds),
    events.ExperimentResumed: st.just(events.ExperimentResumed()),
    events.ExperimentEnded: st.builds(events.ExperimentEnded, reason=_names),
    events.ExperimentSealed: st.builds(
        events.ExperimentSealed,
        events=st.just(events.SealedEvents(1, 9)),
        projections=st.just((events.SealedProjection("vms", SHA, {"vm": SHA}),)),
        sha256=st.just(SHA),
    ),
}
_unknown = st.builds(
    Unknown,
    type=st.just("vm.teleported"),
    version=st.sampled_from([1, 2**70]),
    raw=st.sampled_from([b'{"type":"vm.teleported","x":1e999}', b'{"type":"vm.teleported","x":"\xff"}', b"{}"]),
)

FAMILIES: dict[str, tuple[type[KnownBody], ...]] = {
    "vms": (
        events.VmAdded,
        events.VmRemoved,
        events.VmStateSet,
        events.VmWaived,
        events.VmTimeTicked,
        events.ExperimentCleared,
    ),
    "attempts": (events.VmAdded, events.EntryStarted, events.EntryFinished, events.EntryFailed, events.EntryLost),
    "output": (events.VmAdded, events.OutputCaptured, events.EntryFinished, events.FileTransferred),
    "handlers": (events.HandlerAttached, events.HandlerDetached, events.VmRebooted, events.VmPaused, events.VmResumed),
    "schedules": (events.SchedulePublished, events.ScheduleRemoved, events.ExperimentCleared),
    "resources": (events.ResourceUploaded, events.ResourceRemoved, events.ExperimentCleared),
    "runs": tuple(body for body in _strategies if body.type_name().startswith("experiment.")),
    "everything": tuple(_strategies),
}
"""Kinds of events that have to do with each other."""


@st.composite
def histories(draw: st.DrawFn, family: tuple[type[KnownBody], ...]) -> list[Recorded]:
    """Draw a log of random events of ``family``, which need not make sense together."""
    bodies = st.one_of(*(_strategies[body] for body in family), _unknown)
    return record(draw(st.lists(bodies, min_size=10, max_size=20)))
