"""A Perfetto trace as its own published schema reads it, put together as its trace processor does."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema  # type: ignore[import-untyped]

Event = schema.TrackEvent


class Slice(NamedTuple):
    """What lasted on a track, in nanoseconds; ``path`` is the names of the tracks above it and its own."""

    path: tuple[str, ...]
    name: str
    since: int
    until: int
    details: dict[str, Any]


class Timeline:
    """Slices, flows and counters of a trace; reading it fails where slices do not nest or stay open."""

    def __init__(self, path: Path) -> None:
        trace = schema.Trace.FromString(path.read_bytes())
        self.packets = list(trace.packet)
        self.tracks = {
            p.track_descriptor.uuid: p.track_descriptor for p in self.packets if p.HasField("track_descriptor")
        }
        self.slices: list[Slice] = []
        self.counters: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.flows: defaultdict[int, list[Slice]] = defaultdict(list)
        self._open: defaultdict[int, list[Any]] = defaultdict(list)
        for packet in sorted((p for p in self.packets if p.HasField("track_event")), key=lambda p: p.timestamp):
            assert packet.trusted_packet_sequence_id
            self._take(packet)
        assert not any(self._open.values()), "slices are not closed"

    def path(self, uuid: int) -> tuple[str, ...]:
        """Return the names of the tracks from the process down to this one."""
        track = self.tracks[uuid]
        name = track.process.process_name if track.HasField("process") else track.name
        return (*(self.path(track.parent_uuid) if track.parent_uuid else ()), name)

    def of(self, *path: str) -> list[Slice]:
        """Return the slices of the tracks with these names at the end of their path, in order."""
        return [found for found in self.slices if found.path[-len(path) :] == path]

    def _take(self, packet: Any) -> None:
        event = packet.track_event
        if event.type == Event.TYPE_COUNTER:
            self.counters[self.path(event.track_uuid)[-1]].append((packet.timestamp, event.counter_value))
        elif event.type == Event.TYPE_SLICE_END:
            self._close(self._open[event.track_uuid].pop(), packet.timestamp)
        elif event.type == Event.TYPE_SLICE_BEGIN:
            assert not self._open[event.track_uuid], "a slice begins on a track before the one before it is over"
            self._open[event.track_uuid].append(packet)
        else:
            self._close(packet, packet.timestamp)

    def _close(self, packet: Any, until: int) -> None:
        event = packet.track_event
        details = {each.name: getattr(each, each.WhichOneof("value")) for each in event.debug_annotations}
        found = Slice(self.path(event.track_uuid), event.name, packet.timestamp, until, details)
        self.slices.append(found)
        for number in [*event.flow_ids, *event.terminating_flow_ids]:
            self.flows[number].append(found)
            assert len(self.flows[number]) == 1 + (number in event.terminating_flow_ids)
