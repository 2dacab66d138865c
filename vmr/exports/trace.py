"""A Perfetto trace being written: processes, tracks, slices, flows and counters, one packet after another.

Perfetto's own format, by its own Python package: tracks may be nested, times are integers of nanoseconds, and the file is written in one
pass. (Chrome's JSON has floating-point microseconds, which cannot tell two events of today apart below 200 ns, and no nested tracks.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import IO, Any, Final

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema  # type: ignore[import-untyped]
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder  # type: ignore[import-untyped]

_SEQUENCE: Final = 1
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Trace:
    """Writes packets to ``file``; ``first`` is the earliest time in it. All times are in nanoseconds since 1970 (UTC)."""

    def __init__(self, file: IO[bytes], first: int) -> None:
        self._builder = StreamingTraceProtoBuilder(file)
        self._tracks = 0
        packet = self._packet()
        packet.sequence_flags = schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        # Perfetto counts from a machine's boot; here both clocks are one, so that its viewer can show UTC.
        for clock in (schema.ClockSnapshot.Clock.BOOTTIME, schema.ClockSnapshot.Clock.REALTIME):
            packet.clock_snapshot.clocks.add(clock_id=clock, timestamp=first)
        self._builder.write_packet(packet)

    def process(self, number: int, name: str) -> int:
        """Return a new process's track."""
        packet, track = self._track()
        track.process.pid = number
        track.process.process_name = shown(name)
        track.child_ordering = schema.TrackDescriptor.EXPLICIT
        self._builder.write_packet(packet)
        return self._tracks

    def track(self, parent: int, name: str, rank: int, *, alone: bool = False) -> int:
        """Return a new track below ``parent``, the ``rank``-th there. Siblings of one name are shown as one, unless ``alone``."""
        packet, track = self._track()
        track.parent_uuid, track.name, track.sibling_order_rank = parent, shown(name), rank
        track.child_ordering = schema.TrackDescriptor.EXPLICIT
        if alone:
            track.sibling_merge_behavior = schema.TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE
        self._builder.write_packet(packet)
        return self._tracks

    def counter(self, parent: int, name: str, rank: int) -> int:
        """Return a new track of a counter."""
        packet, track = self._track()
        track.parent_uuid, track.name, track.sibling_order_rank = parent, shown(name), rank
        track.counter.unit = schema.CounterDescriptor.UNIT_COUNT
        self._builder.write_packet(packet)
        return self._tracks

    def slice(
        self,
        track: int,
        name: str,
        since: int,
        until: int,
        details: Mapping[str, Any] | None = None,
        *,
        begun: Iterable[int] = (),
        ended: Iterable[int] = (),
    ) -> None:
        """Write what lasted from ``since`` to ``until``, or a moment where these are one; slices of a track come one after another.

        ``begun`` are the numbers of flows that begin at it, ``ended`` those of flows that lead to it.
        """
        kind = schema.TrackEvent.TYPE_SLICE_BEGIN if until > since else schema.TrackEvent.TYPE_INSTANT
        packet, event = self._event(track, since, kind)
        event.name = shown(name)
        event.flow_ids.extend(begun)
        event.terminating_flow_ids.extend(ended)
        for key, value in (details or {}).items():
            if value is not None:
                _annotate(event.debug_annotations.add(name=key), value)
        self._builder.write_packet(packet)
        if until > since:
            self._builder.write_packet(self._event(track, until, schema.TrackEvent.TYPE_SLICE_END)[0])

    def count(self, track: int, moment: int, value: int) -> None:
        """Write that the counter ``track`` has this value from ``moment`` on."""
        packet, event = self._event(track, moment, schema.TrackEvent.TYPE_COUNTER)
        event.counter_value = value
        self._builder.write_packet(packet)

    def _packet(self) -> schema.TracePacket:
        packet: schema.TracePacket = self._builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet

    def _track(self) -> tuple[schema.TracePacket, schema.TrackDescriptor]:
        self._tracks += 1
        packet = self._packet()
        packet.track_descriptor.uuid = self._tracks
        return packet, packet.track_descriptor

    def _event(self, track: int, moment: int, kind: Any) -> tuple[schema.TracePacket, schema.TrackEvent]:
        packet = self._packet()
        packet.timestamp = moment
        packet.track_event.track_uuid, packet.track_event.type = track, kind
        return packet, packet.track_event


def shown(text: str) -> str:
    """Return ``text`` with control characters, also those of text direction, as escapes."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _annotate(annotation: schema.DebugAnnotation, value: bool | float | str) -> None:  # noqa: FBT001 - a detail's value
    if isinstance(value, bool):
        annotation.bool_value = value
    elif isinstance(value, int):
        annotation.int_value = value
    elif isinstance(value, float):
        annotation.double_value = value
    else:
        annotation.string_value = shown(value)
