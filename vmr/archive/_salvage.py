"""What is left of a damaged archive: where its parts are, by its manifest if that is whole, else by what stands before each part."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import msgspec

from vmr.archive._bytes import Place
from vmr.archive._container import Container, open_container
from vmr.archive._manifest import (
    ABOUT,
    MANIFEST,
    MANIFEST_SUM,
    Manifest,
    manifest_sum,
    read_about,
    read_manifest,
)
from vmr.errors import DamagedArchiveError, DataError, NotAnArchiveError
from vmr.schedule import ObjectRef

_PART: Final = re.compile(r"events/([0-9]+)-([0-9]+)\.parquet")


class RemainingPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is left, or begun.

    Attributes:
        name: of the member.
        first: sequence of its first event.
        last: sequence of its last event.
        place: where it is in the file, as far as the file goes.
        sha256: that it should have, None where no whole manifest says so.
        after: head of the hash chain after its last event, None where no whole manifest says so.

    """

    name: str
    first: int
    last: int
    place: Place
    sha256: str | None = None
    after: str | None = None


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of an archive.

    Attributes:
        first: sequence of the first event that it should have.
        last: sequence of the last event that it should have; None when nothing says so any more.
        parts: the parts, in order of their events.
        damaged: members that are damaged, but for the parts.
        missing: objects that were not in the object store when the archive was taken.

    """

    first: int
    last: int | None
    parts: list[RemainingPart]
    damaged: tuple[str, ...]
    missing: tuple[ObjectRef, ...] = ()


def remains_of(container: Container) -> Remains:
    """Return what is left of the archive in ``container``, whose members were found by walking.

    Raises `NotAnArchiveError` where nothing speaks of an archive, `DamagedArchiveError` where nothing of its events is left.
    """
    manifest = _whole_manifest(container)
    return _by_walking(container) if manifest is None else _by_manifest(container, manifest)


def _whole_manifest(walked: Container) -> Manifest | None:
    """Return the manifest if it is as it was written, wherever it can be found."""
    found = _manifest_in(walked)
    if found is None:
        with contextlib.suppress(DataError), open_container(walked.path) as listed:
            found = _manifest_in(listed)
    return found


def _manifest_in(container: Container) -> Manifest | None:
    if MANIFEST not in container.members or MANIFEST_SUM not in container.members:
        return None
    text = container.read(MANIFEST)
    if container.read(MANIFEST_SUM) != manifest_sum(text):
        return None
    return read_manifest(text, str(container.path))


def _by_manifest(container: Container, manifest: Manifest) -> Remains:
    parts = [
        RemainingPart(
            name=part.name,
            first=part.first,
            last=part.last,
            place=container.clip(Place(part.offset, part.size)),
            sha256=part.sha256,
            after=part.after,
        )
        for part in manifest.parts
    ]
    damaged = [
        member.name
        for member in manifest.members
        if container.digest_at(container.clip(Place(member.offset, member.size))) != member.sha256
    ]
    return Remains(
        first=manifest.first, last=manifest.last, parts=parts, damaged=tuple(damaged), missing=manifest.missing
    )


def _by_walking(container: Container) -> Remains:
    parts = []
    for name, place in container.members.items():
        if match := _PART.fullmatch(name):
            parts.append(RemainingPart(name=name, first=int(match[1]), last=int(match[2]), place=place))
    parts.sort(key=lambda part: part.first)
    damaged = [MANIFEST if MANIFEST in container.members else f"{MANIFEST} (it is missing)"]
    if ABOUT in container.members:
        try:
            about = read_about(container.read(ABOUT), str(container.path))
        except DamagedArchiveError:
            damaged.append(ABOUT)
        else:
            return Remains(first=about.first, last=about.last, parts=parts, damaged=tuple(damaged))
    if parts:
        return Remains(first=parts[0].first, last=None, parts=parts, damaged=tuple(damaged))
    if not container.members:
        raise NotAnArchiveError(f"{container.path} is no archive of vmr's, or nothing of one is left")
    raise DamagedArchiveError(
        f"{container.path} is cut off or damaged before its first event: nothing of the record is left"
    )
