"""Whether an archive is whole, and where not: which event is the first that is damaged or missing.

The seal over the whole file says whether anything is not as it was written. Where it holds, the events are read again and their hash
chain is followed, so that the archive is also what it says. Where it does not hold, the SHA-256 of each part says which one is damaged,
and the hash chain leads to the first event in it that is. Where the manifest is damaged or cut off, the parts speak for themselves: each
knows the sequences and the heads of the chain before and after it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Self

import msgspec
from msgspec.structs import replace

from vmr.archive._container import Container, open_container, salvage
from vmr.archive._manifest import Part
from vmr.archive._messages import Checked
from vmr.archive._read import Archive, Tell
from vmr.archive._reader_process import PartReader
from vmr.archive._salvage import RemainingPart, Remains, remains_of
from vmr.errors import DamagedArchiveError
from vmr.schedule import ObjectRef

_READERS: Final = 2


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an archive after a look at all of it.

    Attributes:
        path: of the file.
        first: sequence of the first event that it should have; None when that is not known.
        last: sequence of the last event that it should have; None when that is not known.
        first_bad: sequence of the first event that is damaged or missing; None when every event is whole.
        problem: what is wrong with that event.
        damaged: what else is damaged: names of members, or places of the file.
        chain: head of the hash chain, when every event is whole and it is known.
        missing: objects that were not in the object store when the archive was taken.

    """

    path: str
    first: int | None
    last: int | None
    first_bad: int | None = None
    problem: str = ""
    damaged: tuple[str, ...] = ()
    chain: str | None = None
    missing: tuple[ObjectRef, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether everything in the archive is as it was written."""
        return self.first_bad is None and not self.damaged

    def __str__(self) -> str:
        if self.whole:
            return f"{self.path} is whole: events {self.first:,} to {self.last:,}, hash chain {self.chain}"
        if self.first_bad is None:
            return f"{self.path}: every event is whole; damaged: {', '.join(self.damaged)}"
        also = f"; also damaged: {', '.join(self.damaged)}" if self.damaged else ""
        before = (
            "no event before it is whole"
            if self.first_bad == self.first
            else f"up to {self.first_bad - 1:,} all are whole"
        )
        return f"{self.path}: the first bad event is {self.first_bad:,}: {self.problem}; {before}{also}"


def verify_archive(path: Path | str, *, tell: Tell | None = None, reader: PartReader | None = None) -> Verdict:
    """Look at every byte of the archive at ``path`` and say whether it is whole.

    ``reader`` is used where given, else processes are started. Raises `NotAnArchiveError` and `NewerArchiveError`, and `DataError` where
    the file cannot be read.
    """
    path = Path(path)
    with _Readers(reader) as readers:
        try:
            with open_container(path) as container:
                if container.sealed():
                    return _sealed(Archive(container), readers, tell)
        except DamagedArchiveError:
            pass
        return _damaged(path, readers)


class _Readers:
    """Some processes that read parts, made when they are needed."""

    def __init__(self, given: PartReader | None) -> None:
        self._given = given
        self._made: list[PartReader] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._made:
            reader.close()

    def take(self, count: int) -> list[PartReader]:
        """Return at most ``count`` readers, at least one."""
        if self._given is not None:
            return [self._given]
        while len(self._made) < min(count, _READERS):
            self._made.append(PartReader())
        return self._made


def _sealed(archive: Archive, readers: _Readers, tell: Tell | None) -> Verdict:
    """Say whether an archive in which no byte has changed is what it says."""
    manifest = archive.manifest
    verdict = Verdict(
        path=str(archive.path), first=manifest.first, last=manifest.last, chain=manifest.chain, missing=manifest.missing
    )
    wrong = tuple(member.name for member in (*manifest.members, *manifest.parts) if not archive.matches(member))
    if wrong:
        verdict = replace(verdict, damaged=wrong)
    done = 0
    for part, checked in _checked(archive, readers):
        if checked.whole < part.rows:
            bad = part.first + checked.whole
            return replace(verdict, first_bad=bad, problem=checked.problem, chain=None)
        done += part.rows
        if tell is not None:
            tell(done, manifest.events)
    return verdict


def _checked(archive: Archive, readers: _Readers) -> Iterator[tuple[Part, Checked]]:
    """Yield each part with what a look into it has shown, in order; several are looked at at once."""
    free: SimpleQueue[PartReader] = SimpleQueue()
    taken = readers.take(len(archive.parts))
    for reader in taken:
        free.put(reader)

    def look(part: Part, path: Path) -> Checked:
        reader = free.get()
        try:
            return reader.check(path, part.first, part.last, part.before, part.after)
        finally:
            free.put(reader)
            path.unlink()

    with tempfile.TemporaryDirectory(prefix="vmr-verify-") as folder, ThreadPoolExecutor(len(taken)) as pool:
        waiting = []
        for part in archive.parts:
            path = archive.copy(part, Path(folder))
            waiting.append((part, pool.submit(look, part, path)))
            if len(waiting) > 2 * len(taken):
                first, future = waiting.pop(0)
                yield first, future.result()
        for part, future in waiting:
            yield part, future.result()


def _damaged(path: Path, readers: _Readers) -> Verdict:
    """Say what is whole of an archive in which something has changed."""
    with salvage(path) as container:
        return _first_bad(container, remains_of(container), readers.take(1)[0])


def _first_bad(container: Container, remains: Remains, reader: PartReader) -> Verdict:
    """Find the first event that is not whole, or what else is damaged."""
    verdict = Verdict(path=str(container.path), first=remains.first, last=remains.last, missing=remains.missing)
    expected, head = remains.first, "0" * 64
    damaged = list(remains.damaged)
    for part in remains.parts:
        if part.first != expected:
            break
        if part.after is not None and container.digest_at(part.place) == part.sha256:
            expected, head = part.last + 1, part.after
            continue
        checked = _look(container, part, head, reader)
        expected, head = part.first + checked.whole, checked.head
        if expected <= part.last:
            return replace(verdict, first_bad=expected, problem=checked.problem, damaged=tuple(damaged))
        if part.sha256 is not None:
            damaged.append(f"{part.name} (but not its messages)")
    if remains.last is None or expected <= remains.last:
        return replace(verdict, first_bad=expected, problem="it is missing", damaged=tuple(damaged))
    return replace(verdict, damaged=tuple(damaged) or ("the ZIP around the members",), chain=head)


def _look(container: Container, part: RemainingPart, head: str, reader: PartReader) -> Checked:
    with tempfile.TemporaryDirectory(prefix="vmr-verify-") as folder:
        path = Path(folder) / "part.parquet"
        container.copy_at(part.place, path)
        return reader.check(path, part.first, part.last, head, part.after)
