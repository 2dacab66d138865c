"""Reading an archive: what it holds, its events as Parquet files and as messages, its objects."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from vmr.archive._container import Container, open_container
from vmr.archive._manifest import (
    ABOUT,
    EXPERIMENT,
    MANIFEST,
    MANIFEST_SUM,
    Manifest,
    Member,
    Part,
    manifest_sum,
    read_about,
    read_manifest,
)
from vmr.archive._messages import connect, rows
from vmr.errors import DamagedArchiveError, DataError
from vmr.events import Recorded
from vmr.messages import Raw, to_recorded
from vmr.schedule import ObjectRef

Tell = Callable[[int, int], None]
"""Is told how many events are done, of how many."""


def open_archive(path: Path | str) -> Archive:
    """Open the archive at ``path``; use it with ``with``.

    Only its directory and manifest are checked here; each part is checked when it is read. Raises `NotAnArchiveError`,
    `NewerArchiveError`, or `DamagedArchiveError` when it is cut off or contradicts itself.
    """
    container = open_container(Path(path))
    try:
        return Archive(container)
    except BaseException:
        container.close()
        raise


class Archive:
    """The record of one run in a file. Not for several threads at once.

    Attributes:
        path: of the file.
        manifest: what is in it.

    """

    def __init__(self, container: Container) -> None:
        self.path = container.path
        self._container = container
        place = str(self.path)
        read_about(container.read(ABOUT), place)
        text = container.read(MANIFEST)
        if container.read(MANIFEST_SUM) != manifest_sum(text):
            raise self._damaged(MANIFEST)
        self.manifest: Manifest = read_manifest(text, place)
        for member in (*self.manifest.members, *self.manifest.parts):
            found = container.members.get(member.name)
            odd = member.name.startswith("objects/") and member.name != f"objects/{member.sha256}"
            if found is None or found.size != member.size or odd:
                raise self._damaged(member.name)
        self._sums = {member.name: member.sha256 for member in (*self.manifest.members, *self.manifest.parts)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The Parquet files of events, in order."""
        return self.manifest.parts

    @property
    def objects(self) -> list[ObjectRef]:
        """The objects that are in the archive."""
        return [
            ObjectRef(member.sha256, member.size)
            for member in self.manifest.members
            if member.name.startswith("objects/")
        ]

    def _damaged(self, name: str) -> DamagedArchiveError:
        return DamagedArchiveError(f"{self.path}: {name} is damaged: `vmr archive verify` says which events are whole")

    def extract_events(self, folder: Path, *, tell: Tell | None = None) -> list[Path]:
        """Write the Parquet files of events into ``folder``, in constant memory, and return their paths in order.

        Raises `DamagedArchiveError` for one that does not match its SHA-256, and `InvalidInputError` where it cannot be written.
        """
        done, paths = 0, []
        for part in self.parts:
            paths.append(self.extract(part, folder))
            done += part.rows
            if tell is not None:
                tell(done, self.manifest.events)
        return paths

    def extract(self, part: Part, folder: Path) -> Path:
        """Write one Parquet file of events into ``folder`` and return its path; see `extract_events`."""
        return self._extract(part.name, folder / Path(part.name).name)

    def copy(self, part: Part, folder: Path) -> Path:
        """Write one Parquet file of events into ``folder``, whatever is in it, and return its path."""
        target = folder / Path(part.name).name
        self._container.copy(part.name, target)
        return target

    def matches(self, member: Member) -> bool:
        """Return whether a member's content has the SHA-256 that the manifest says."""
        return self._container.digest(member.name) == member.sha256

    def _extract(self, name: str, target: Path) -> Path:
        if name not in self._sums:
            raise DataError(f"{self.path}: there is no {name} in it")
        digest = self._container.copy(name, target)
        if digest != self._sums[name]:
            target.unlink()
            raise self._damaged(name)
        return target

    def raw(self, start: int | None = None, stop: int | None = None) -> Iterator[list[Raw]]:
        """Yield the messages from sequence ``start`` to ``stop`` (default: all), as the log had them, in batches.

        Raises `DamagedArchiveError`.
        """
        first, last = start or self.manifest.first, self.manifest.last if stop is None else stop
        with tempfile.TemporaryDirectory(prefix="vmr-archive-") as folder, contextlib.closing(connect()) as connection:
            for part in self.parts:
                if part.last >= first and part.first <= last:
                    path = self.extract(part, Path(folder))
                    yield from self._messages(connection, path, part, first, last)
                    path.unlink()

    def _messages(
        self, connection: duckdb.DuckDBPyConnection, path: Path, part: Part, first: int, last: int
    ) -> Iterator[list[Raw]]:
        expected = part.first
        try:
            for found in rows(connection, path):
                batch = [Raw(row[0], row[1], row[2], row[3], self.manifest.last - row[0]) for row in found]
                if [raw.sequence for raw in batch] != list(range(expected, expected + len(batch))):
                    raise self._damaged(part.name)
                expected += len(batch)
                if wanted := [raw for raw in batch if first <= raw.sequence <= last]:
                    yield wanted
        except duckdb.Error as error:
            raise self._damaged(part.name) from error
        if expected != part.last + 1:
            raise self._damaged(part.name)

    def recorded(self, start: int | None = None, stop: int | None = None) -> Iterator[list[Recorded]]:
        """Yield the events from sequence ``start`` to ``stop`` (default: all), in batches. Raises `DamagedArchiveError`."""
        for batch in self.raw(start, stop):
            yield [to_recorded(raw) for raw in batch]

    def object(self, ref: ObjectRef) -> bytes:
        """Return an object's content; raise `DataError` when the archive does not have it, or has it damaged."""
        name = f"objects/{ref.sha256}"
        if name not in self._sums:
            raise DataError(f"object {ref.sha256} ({ref.size:,} bytes) is not in {self.path}")
        content = self._container.read(name)
        if hashlib.sha256(content).hexdigest() != ref.sha256:
            raise self._damaged(name)
        return content

    async def get_object(self, ref: ObjectRef) -> bytes:
        """Return an object's content, as `vmr.eventlog.Objects` has it; see `object`."""
        return self.object(ref)

    def extract_object(self, sha256: str, path: Path) -> None:
        """Write an object's content to the new file ``path``, in constant memory; see `extract_events` for what it raises."""
        self._extract(f"objects/{sha256}", path)

    @property
    def experiment(self) -> str | None:
        """The experiment's file, as it was when the run was launched; None where none is known."""
        if EXPERIMENT not in self._sums:
            return None
        content = self._container.read(EXPERIMENT)
        if hashlib.sha256(content).hexdigest() != self._sums[EXPERIMENT]:
            raise self._damaged(EXPERIMENT)
        return content.decode("utf-8", "replace")
