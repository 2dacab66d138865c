"""Parquet files of events, written from messages of the log."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from vmr.archive._chain import check_value, link
from vmr.archive._manifest import FORMAT, Part, part_name
from vmr.archive._messages import connect, queries
from vmr.archive._refs import Refs
from vmr.errors import DataError
from vmr.event_columns import arrays_of, columns_of, selection
from vmr.log._events import to_recorded
from vmr.log._feed import Raw
from vmr.projections import load_projections

PART_EVENTS: Final = 65_536
PART_BYTES: Final = 64 * 1024 * 1024
"""A part ends with so many events or, sooner, with the event that brings its messages to so many bytes."""

_ROWS: Final = 8192


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is on disk, and what was seen in it.

    Attributes:
        part: the part.
        counts: number of its events by type.
        refs: the objects that its events refer to.
        ended: whether it has the end of the run in it.

    """

    part: Part
    counts: dict[str, int]
    refs: Refs
    ended: bool


class PartWriter:
    """Writes the events of one run, as they come, into files of ``folder``.

    Args:
        folder: where the files go; it exists.
        first: sequence of the first event that will come.
        run: number of its run.
        head: head of the hash chain before it.

    """

    def __init__(
        self, folder: Path, first: int, run: int, head: bytes, *, events: int = PART_EVENTS, size: int = PART_BYTES
    ) -> None:
        self.next = first
        self.head = head
        self._folder = folder
        self._run = run
        self._limit = events
        self._limit_bytes = size
        self._connection = connect()
        # Nothing is ever in it: it says which columns there are, and of which types.
        self._connection.execute(load_projections()[0].table)
        self._begin()

    def _begin(self) -> None:
        self._first, self._before = self.next, self.head
        self._size = 0
        self._messages: list[Raw] = []
        self._checks: list[int] = []

    def close(self) -> None:
        """Forget what is not in a file."""
        self._connection.close()

    def add(self, batch: Sequence[Raw]) -> Iterator[Finished]:
        """Take the events of ``batch``, and yield each part when it is full and on disk. Raises `DataError` for a gap."""
        start = 0
        while start < len(batch):
            stop = self._take(batch, start)
            self._chain(batch[start:stop])
            start = stop
            if self.next - self._first >= self._limit or self._size >= self._limit_bytes:
                yield self.finish()

    def _take(self, batch: Sequence[Raw], start: int) -> int:
        """Return where the part that is being written ends in ``batch``, or how long that is."""
        room = self._limit - (self.next - self._first)
        for place in range(start, min(start + room, len(batch))):
            self._size += len(batch[place].data)
            if self._size >= self._limit_bytes:
                return place + 1
        return min(start + room, len(batch))

    def _chain(self, batch: Sequence[Raw]) -> None:
        for raw in batch:
            if raw.sequence != self.next:
                raise DataError(f"the log has no event {self.next}: event {raw.sequence} came instead")
            self.next += 1
            self.head = link(self.head, raw.sequence, raw.stored, raw.subject, raw.data)
            self._checks.append(check_value(self.head))
        self._messages += batch

    def _exact(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns that say what the messages were, byte for byte."""
        payload = np.empty(len(self._messages), dtype=object)
        payload[:] = [raw.data for raw in self._messages]
        return {
            "stored_ns": np.array([raw.stored for raw in self._messages], dtype=np.int64),
            "payload": payload,
            "chain": np.array(self._checks, dtype=np.uint32),
        }

    def finish(self) -> Finished:
        """Write what there is to a file, which appears as a whole, and begin the next part."""
        name = part_name(self._first, self.next - 1)
        path = self._folder / Path(name).name
        unfinished = path.with_suffix(".unfinished")
        before, after = self._before.hex(), self.head.hex()
        says = {"vmr_format": FORMAT, "first": self._first, "last": self.next - 1, "before": before, "after": after}
        metadata = ", ".join(f"{key}: '{value}'" for key, value in says.items())
        recorded = [to_recorded(raw) for raw in self._messages]
        columns = columns_of(recorded, self._run, few=False)
        columns["run"] = [self._run] * len(recorded)
        types = Counter(columns["type"])
        self._connection.register("incoming", arrays_of(columns) | self._exact())
        said = selection(frozenset(types), "stored_ns", "payload::BLOB AS payload", "chain")
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS}, KV_METADATA {{{metadata}}}"
        self._connection.execute(
            f"COPY (WITH said AS ({said}) {queries()['part'].sql}) TO {_quoted(unfinished)} ({options})"
        ).fetchall()
        self._connection.unregister("incoming")
        with unfinished.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        unfinished.replace(path)
        part = Part(
            name=name,
            size=size,
            sha256=digest,
            first=self._first,
            last=self.next - 1,
            before=before,
            after=after,
        )
        refs = Refs()
        refs.add(recorded)
        finished = Finished(part=part, counts=dict(types), refs=refs, ended="experiment.ended" in types)
        self._begin()
        return finished

    @property
    def waiting(self) -> int:
        """The number of events that are in no file yet."""
        return self.next - self._first


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
