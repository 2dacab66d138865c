"""The events: every change of state that vmr knows, as immutable typed data.

An event on the wire is one JSON object (readable by any NATS client, by DuckDB and by people)::

    {"id": "019…", "time": "2026-01-31T12:00:00.123456Z", "producer": "handler@lab1",
     "version": 1, "body": {"type": "vm.added", "server_uuid": "…", …}}

``id`` is time-ordered (UUID version 7) and is the message id by which the server drops repeats. ``time`` is the producer's UTC
clock in microseconds. ``version`` is the schema version of the body's type. Two rules keep old records readable for ever:

- the meaning of a type and version never changes; fields may be added to it, with a default;
- a breaking change is the next version of the type, and `UPCASTERS` turns the older body into the newer one.

JSON Schemas and a golden example of every type and version lie in ``streams/``; tests hold them against `vmr.events.bodies`. A body that
this code does not know (a later type or version) decodes to `Unknown`, with its raw JSON, and is never dropped.
"""

from __future__ import annotations

from vmr.events.bodies import (
    BODY_TYPES,
    DEFAULT_SCHEDULES,
    UPCASTERS,
    AgentAddress,
    Body,
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentCleared,
    ExperimentEnded,
    ExperimentLaunched,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentSealed,
    ExperimentStarted,
    FileTransferred,
    HandlerAttached,
    HandlerDetached,
    KnownBody,
    OutputCaptured,
    ResourceRemoved,
    ResourceUploaded,
    SchedulePublished,
    ScheduleRemoved,
    SealedEvents,
    SealedProjection,
    StreamName,
    VmAdded,
    VmPaused,
    VmRebooted,
    VmRemoved,
    VmResumed,
    VmStateSet,
    VmTimeTicked,
    VmWaived,
)
from vmr.events.wire import (
    Event,
    Recorded,
    Unknown,
    body_json,
    decode,
    encode,
    new_event,
    new_id,
    subject_of,
)

__all__ = [
    "BODY_TYPES",
    "DEFAULT_SCHEDULES",
    "UPCASTERS",
    "AgentAddress",
    "Body",
    "EntryFailed",
    "EntryFinished",
    "EntryLost",
    "EntryStarted",
    "Event",
    "ExperimentCleared",
    "ExperimentEnded",
    "ExperimentLaunched",
    "ExperimentPaused",
    "ExperimentResumed",
    "ExperimentSealed",
    "ExperimentStarted",
    "FileTransferred",
    "HandlerAttached",
    "HandlerDetached",
    "KnownBody",
    "OutputCaptured",
    "Recorded",
    "ResourceRemoved",
    "ResourceUploaded",
    "SchedulePublished",
    "ScheduleRemoved",
    "SealedEvents",
    "SealedProjection",
    "StreamName",
    "Unknown",
    "VmAdded",
    "VmPaused",
    "VmRebooted",
    "VmRemoved",
    "VmResumed",
    "VmStateSet",
    "VmTimeTicked",
    "VmWaived",
    "body_json",
    "decode",
    "encode",
    "new_event",
    "new_id",
    "subject_of",
]
