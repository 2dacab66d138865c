"""What an archive says of itself, and the names of its members. ``docs/archive-format.md`` tells it to people."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Annotated, Final

import msgspec

from vmr.errors import DamagedArchiveError, NewerArchiveError, NotAnArchiveError
from vmr.schedule import ObjectRef, Sha256

FORMAT: Final = 1
"""The version of the format that this vmr writes, and the newest that it reads."""

README: Final = "README.txt"
ABOUT: Final = "about.json"
STREAM: Final = "stream.json"
EXPERIMENT: Final = "experiment.yaml"
MANIFEST: Final = "manifest.json"
MANIFEST_SUM: Final = "manifest.sha256"
NAME: Final = re.compile(
    r"README\.txt|about\.json|stream\.json|experiment\.yaml|manifest\.json|manifest\.sha256"
    r"|events/[0-9]{1,19}-[0-9]{1,19}\.parquet|objects/[0-9a-f]{64}|schemas/[a-z_.]{1,80}v[0-9]{1,4}\.json"
)
"""Every name that a member may have: none of them leads out of a folder."""

Count = Annotated[int, msgspec.Meta(ge=0)]
Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds, at its beginning: all that is left of an archive without an end.

    Attributes:
        format: version of the format.
        vmr: version of vmr that wrote it.
        database: name of the database that it was taken from.
        run: number of the run in that database.
        name: name of the experiment, None before it was launched.
        first: sequence of the first event.
        last: sequence of the last event.
        created: when it was written, UTC.

    """

    format: int
    vmr: str
    database: str
    run: Sequence
    name: str | None
    first: Sequence
    last: Sequence
    created: datetime


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the file.

    Attributes:
        name: its name.
        size: of its content, in bytes.
        sha256: of its content.
        offset: where its content begins in the file.

    """

    name: str
    size: Count
    sha256: Sha256
    offset: Count = 0


class Part(Member, frozen=True, kw_only=True):
    """A Parquet file of events that follow one another.

    Attributes:
        first: sequence of its first event.
        last: sequence of its last event.
        before: head of the hash chain before its first event.
        after: head of the hash chain after its last event.

    """

    first: Sequence
    last: Sequence
    before: Sha256
    after: Sha256

    @property
    def rows(self) -> int:
        """The number of its events."""
        return self.last - self.first + 1


class Manifest(About, frozen=True, kw_only=True):
    """Everything that is in an archive.

    Attributes:
        duckdb: version of DuckDB that wrote the Parquet files.
        ended: whether the run had ended.
        events: number of events.
        counts: number of events by type.
        chain: head of the hash chain after the last event: the fingerprint of the record.
        parts: the Parquet files, in order.
        members: the other members, but for the manifest itself.
        missing: objects that events refer to and that the object store did not have, or not whole.
        resources: files of the resource store, by name, that schedules need and that were put there before the run.

    """

    duckdb: str
    ended: bool
    events: Count
    counts: dict[str, Count]
    chain: Sha256
    parts: tuple[Part, ...]
    members: tuple[Member, ...]
    missing: tuple[ObjectRef, ...] = ()
    resources: dict[str, ObjectRef] = msgspec.field(default_factory=dict)


class _Format(msgspec.Struct, frozen=True):
    format: int
    vmr: str = "?"


def part_name(first: int, last: int) -> str:
    """Return the name of the member with the events from ``first`` to ``last``."""
    return f"events/{first}-{last}.parquet"


def read_about(data: bytes, place: str) -> About:
    """Return what ``about.json`` says; raise `NewerArchiveError`, `NotAnArchiveError`, or `DamagedArchiveError`."""
    try:
        found = msgspec.json.decode(data, type=_Format)
    except msgspec.MsgspecError as error:
        raise DamagedArchiveError(f"{place}: {ABOUT} does not decode: {error}") from error
    if found.format > FORMAT:
        raise NewerArchiveError(
            f"{place} has archive format {found.format}, written by vmr {found.vmr}; this version knows formats up to {FORMAT}: "
            "update vmr"
        )
    if found.format < 1:
        raise NotAnArchiveError(f"{place} is no archive of vmr's: there is no archive format {found.format}")
    try:
        return msgspec.json.decode(data, type=About)
    except msgspec.MsgspecError as error:
        raise DamagedArchiveError(f"{place}: {ABOUT} does not decode: {error}") from error


def read_manifest(data: bytes, place: str) -> Manifest:
    """Return what ``manifest.json`` says; raise `DamagedArchiveError` when it contradicts itself."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DamagedArchiveError(f"{place}: {MANIFEST} does not decode: {error}") from error
    problem = _contradiction(manifest)
    if problem:
        raise DamagedArchiveError(f"{place}: {MANIFEST} contradicts itself: {problem}")
    return manifest


def manifest_sum(manifest: bytes) -> bytes:
    """Return what ``manifest.sha256`` says of this manifest; ``sha256sum -c`` reads it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _contradiction(manifest: Manifest) -> str | None:
    expected, head = manifest.first, "0" * 64
    for part in manifest.parts:
        if part.first != expected or part.last < part.first or part.name != part_name(part.first, part.last):
            return f"{part.name} does not follow on event {expected - 1}"
        if part.before != head:
            return f"the hash chain is broken before event {part.first}"
        expected, head = part.last + 1, part.after
    if expected != manifest.last + 1 or manifest.events != manifest.last - manifest.first + 1:
        return f"its parts end at event {expected - 1}, and not at {manifest.last}"
    if sum(manifest.counts.values()) != manifest.events:
        return "the counts do not add up"
    return None if head == manifest.chain else "the hash chain does not end in its head"
