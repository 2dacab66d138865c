"""Parquet files of events, written from messages of the log."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from vmr.archive._chain import check_value, link
from vmr.archive._manifest import FORMAT, Part, part_name
from vmr.archive._messages import connect, queries
from vmr.archive._refs import Refs
from vmr.errors import DataError
from vmr.event_columns import columns_of, insert
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
        self._begin()

    def _begin(self) -> None:
        self._first, self._before = self.next, self.head
        self._size = 0
        self._counts: Counter[str] = Counter()
        self._refs = Refs()
        self._ended = False
        # A database for each part: what the events' own SQL makes in it need not be known here.
        self._connection.close()
        self._connection = connect()
        table = load_projections()[0].table
        self._connection.execute(f"{table}\n{queries()['exact'].sql}")

    def close(self) -> None:
        """Forget what is not in a file."""
        self._connection.close()

    def add(self, batch: Sequence[Raw]) -> Iterator[Finished]:
        """Take the events of ``batch``, and yield each part when it is full and on disk. Raises `DataError` for a gap."""
        start = 0
        while start < len(batch):
            stop = self._take(batch, start)
            self._insert(batch[start:stop])
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

    def _insert(self, batch: Sequence[Raw]) -> None:
        checks = []
        for raw in batch:
            if raw.sequence != self.next:
                raise DataError(f"the log has no event {self.next}: event {raw.sequence} came instead")
            self.next += 1
            self.head = link(self.head, raw.sequence, raw.stored, raw.subject, raw.data)
            checks.append(check_value(self.head))
        recorded = [to_recorded(raw) for raw in batch]
        columns = columns_of(recorded, self._run)
        columns["run"] = [self._run] * len(batch)
        insert(self._connection, columns)
        self._insert_exact(batch, checks)
        self._counts.update(columns["type"])
        self._ended = self._ended or "experiment.ended" in columns["type"]
        self._refs.add(recorded)

    def _insert_exact(self, batch: Sequence[Raw], checks: Sequence[int]) -> None:
        payload = np.empty(len(batch), dtype=object)
        payload[:] = [raw.data for raw in batch]
        incoming = {
            "stored_ns": np.array([raw.stored for raw in batch], dtype=np.int64),
            "payload": payload,
            "chain": np.array(checks, dtype=np.uint32),
        }
        self._connection.register("incoming_exact", incoming)
        self._connection.execute(
            "INSERT INTO exact SELECT stored_ns, payload::BLOB, chain FROM incoming_exact"
        ).fetchall()
        self._connection.unregister("incoming_exact")

    def finish(self) -> Finished:
        """Write what there is to a file, which appears as a whole, and begin the next part."""
        name = part_name(self._first, self.next - 1)
        path = self._folder / Path(name).name
        unfinished = path.with_suffix(".unfinished")
        before, after = self._before.hex(), self.head.hex()
        says = {"vmr_format": FORMAT, "first": self._first, "last": self.next - 1, "before": before, "after": after}
        metadata = ", ".join(f"{key}: '{value}'" for key, value in says.items())
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS}, KV_METADATA {{{metadata}}}"
        self._connection.execute(f"COPY ({queries()['part'].sql}) TO {_quoted(unfinished)} ({options})").fetchall()
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
        finished = Finished(part=part, counts=dict(self._counts), refs=self._refs, ended=self._ended)
        self._begin()
        return finished

    @property
    def waiting(self) -> int:
        """The number of events that are in no file yet."""
        return self.next - self._first


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
