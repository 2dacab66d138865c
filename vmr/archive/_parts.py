"""Parquet files of events, written from messages of the log."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from vmr.archive._chain import check_values
from vmr.archive._manifest import FORMAT, Part, part_name
from vmr.archive._messages import connect, queries
from vmr.archive._refs import Refs
from vmr.event_columns import arrays_of, columns_of, selection
from vmr.messages import Raw, to_recorded
from vmr.projections import load_projections

PART_EVENTS: Final = 32_768
PART_BYTES: Final = 64 * 1024 * 1024
"""A part ends with so many events or, sooner, with the event that brings its messages to so many bytes."""

_FORM: Final = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 8192"
"""The quickest level of compression: DuckDB's usual one takes a sixth longer for columns like these, and does not make them smaller."""


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


class _Gathered(msgspec.Struct, kw_only=True):
    """Messages of a part that is not on disk, and the heads of the hash chain: before the first, and after each of them."""

    before: bytes
    first: int
    size: int = 0
    messages: list[Raw] = []
    heads: list[bytes] = []

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1

    @property
    def after(self) -> bytes:
        return self.heads[-1] if self.heads else self.before

    def exact(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the columns that say what the messages were, byte for byte."""
        payload = np.empty(len(self.messages), dtype=object)
        payload[:] = [raw.data for raw in self.messages]
        return {
            "stored_ns": np.array([raw.stored for raw in self.messages], dtype=np.int64),
            "payload": payload,
            "chain": check_values(self.heads),
        }


class PartWriter:
    """Writes the events of one run, as they come, into files of ``folder``: one file while the events of the next gather.

    Args:
        folder: where the files go; it exists.
        first: sequence of the first event that will come.
        run: number of its run.
        head: head of the hash chain before it.

    """

    def __init__(
        self, folder: Path, first: int, run: int, head: bytes, *, events: int = PART_EVENTS, size: int = PART_BYTES
    ) -> None:
        self._folder = folder
        self._run = run
        self._limit = events
        self._limit_bytes = size
        self._connection = connect()
        # Nothing is ever in it: it says which columns there are, and of which types.
        self._connection.execute(load_projections()[0].table)
        self._gathered = _Gathered(before=head, first=first)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._writing: Future[Finished] | None = None

    def close(self) -> None:
        """Forget what is not in a file."""
        self._thread.shutdown()
        self._connection.close()

    def add(self, batch: Sequence[Raw], heads: Sequence[bytes]) -> Iterator[Finished]:
        """Take the next events, with the head of the hash chain after each of them; yield the parts that are full and on disk."""
        start = 0
        while start < len(batch):
            stop = self._room(batch, start)
            self._gathered.messages += batch[start:stop]
            self._gathered.heads += heads[start:stop]
            start = stop
            if len(self._gathered.messages) >= self._limit or self._gathered.size >= self._limit_bytes:
                yield from self._end_part()

    def _room(self, batch: Sequence[Raw], start: int) -> int:
        """Return where the part that is being gathered ends in ``batch``, or how long that is."""
        stop = min(start + self._limit - len(self._gathered.messages), len(batch))
        sizes = list(accumulate((len(raw.data) for raw in batch[start:stop]), initial=self._gathered.size))[1:]
        stop = min(stop, start + bisect_left(sizes, self._limit_bytes) + 1)
        self._gathered.size = sizes[stop - start - 1]
        return stop

    def _end_part(self) -> Iterator[Finished]:
        """Begin to write what is gathered, once what was begun before is written."""
        yield from self._written()
        self._writing = self._thread.submit(self._write, self._gathered)
        self._gathered = _Gathered(before=self._gathered.after, first=self._gathered.last + 1)

    def _written(self) -> Iterator[Finished]:
        writing, self._writing = self._writing, None
        if writing is not None:
            yield writing.result()

    def finish(self) -> Iterator[Finished]:
        """Yield the parts that were not yielded yet, the last one however short."""
        if self._gathered.messages:
            yield from self._end_part()
        yield from self._written()

    def _write(self, gathered: _Gathered) -> Finished:
        """Write a part to a file, which appears as a whole."""
        first, last, before, after = gathered.first, gathered.last, gathered.before.hex(), gathered.after.hex()
        name = part_name(first, last)
        path = self._folder / Path(name).name
        unfinished = path.with_suffix(".unfinished")
        says = {"vmr_format": FORMAT, "first": first, "last": last, "before": before, "after": after}
        metadata = ", ".join(f"{key}: '{value}'" for key, value in says.items())
        recorded = [to_recorded(raw) for raw in gathered.messages]
        columns = columns_of(recorded, self._run, few=False)
        columns["run"] = [self._run] * len(recorded)
        types = Counter(columns["type"])
        self._connection.register("incoming", arrays_of(columns) | gathered.exact())
        said = selection(frozenset(types), "stored_ns", "payload::BLOB AS payload", "chain")
        options = f"{_FORM}, KV_METADATA {{{metadata}}}"
        self._connection.execute(
            f"COPY (WITH said AS ({said}) {queries()['part'].sql}) TO {_quoted(unfinished)} ({options})"
        ).fetchall()
        self._connection.unregister("incoming")
        with unfinished.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        unfinished.replace(path)
        refs = Refs()
        refs.add(recorded)
        return Finished(
            part=Part(name=name, size=size, sha256=digest, first=first, last=last, before=before, after=after),
            counts=dict(types),
            refs=refs,
            ended="experiment.ended" in types,
        )


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
