"""Which objects the events of a run refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from vmr.events import ExperimentLaunched, Recorded, ResourceUploaded, SchedulePublished
from vmr.schedule import Entry, ObjectRef

_REFERRING: Final = frozenset({ExperimentLaunched, ResourceUploaded, SchedulePublished})


class Refs(msgspec.Struct):
    """Objects by their hashes, in the order in which they were first spoken of.

    Attributes:
        objects: size of each object, by its SHA-256.
        schedules: those that hold the entries of a schedule, which in turn refer to objects.
        experiment: the file of the experiment, as it was launched last.
        named: names of files in the resource store that entries need.
        uploaded: names of files that were put into the resource store.

    """

    objects: dict[str, int] = msgspec.field(default_factory=dict)
    schedules: dict[str, int] = msgspec.field(default_factory=dict)
    experiment: ObjectRef | None = None
    named: set[str] = msgspec.field(default_factory=set)
    uploaded: set[str] = msgspec.field(default_factory=set)

    def add(self, recorded: Iterable[Recorded]) -> None:
        """Take what these events refer to."""
        for body in (one.event.body for one in recorded if type(one.event.body) in _REFERRING):
            if isinstance(body, SchedulePublished):
                self._add_schedule(body)
            elif isinstance(body, ResourceUploaded):
                self._take(body.object)
                self.uploaded.add(body.name)
            elif isinstance(body, ExperimentLaunched) and body.experiment is not None:
                self._take(body.experiment)
                self.experiment = body.experiment

    def _add_schedule(self, body: SchedulePublished) -> None:
        for ref in (body.entries_object, body.opaque):
            if ref is not None:
                self._take(ref)
        if body.entries_object is not None:
            self.schedules[body.entries_object.sha256] = body.entries_object.size
        self.add_entries(body.entries)

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """Take the files that these entries of a schedule need."""
        for file in (file for entry in entries for file in entry.files):
            if file.object is not None:
                self._take(file.object)
            if file.resource is not None:
                self.named.add(file.resource)

    def take_resources(self, resources: Mapping[str, ObjectRef]) -> None:
        """Take the objects of files in the resource store."""
        for ref in resources.values():
            self._take(ref)

    def _take(self, ref: ObjectRef) -> None:
        self.objects.setdefault(ref.sha256, ref.size)

    def merge(self, other: Refs) -> None:
        """Take what ``other``, of later events, has."""
        self.objects = other.objects | self.objects
        self.schedules = other.schedules | self.schedules
        self.experiment = other.experiment or self.experiment
        self.named |= other.named
        self.uploaded |= other.uploaded
