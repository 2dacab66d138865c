"""The last step of taking an archive: from the parts and objects in the working folder to the one file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import msgspec

from vmr import __version__, contract
from vmr.archive import _manifest as names
from vmr.archive._container_writer import ContainerWriter
from vmr.archive._folder import ASSEMBLED
from vmr.archive._manifest import FORMAT, About, Manifest, Member, Part, manifest_sum
from vmr.archive._parts import Finished
from vmr.archive._refs import Refs
from vmr.errors import DataError
from vmr.log._stream import definition
from vmr.schedule import ObjectRef

if TYPE_CHECKING:
    from vmr.record import Run


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into an archive: of which database and run, up to which event, and what the working folder holds of it."""

    database: str
    run: Run
    last: int
    parts: Sequence[Finished]
    refs: Refs
    missing: tuple[ObjectRef, ...] = ()
    resources: dict[str, ObjectRef] = msgspec.field(default_factory=dict)


def assemble(folder: Path, contents: Contents) -> Manifest:
    """Write the archive's file into the working folder ``folder``, sealed, and return its manifest."""
    created = datetime.now(UTC)
    writer = ContainerWriter(folder / ASSEMBLED, created)
    try:
        manifest = _write(writer, folder, contents, created)
        writer.seal()
    except BaseException:
        with contextlib.suppress(OSError):
            writer.abandon()
        raise
    return manifest


def _write(writer: ContainerWriter, folder: Path, contents: Contents, created: datetime) -> Manifest:
    about = About(
        format=FORMAT,
        vmr=__version__,
        database=contents.database,
        run=contents.run.run,
        name=contents.run.name,
        first=contents.run.first_seq,
        last=contents.last,
        created=created,
    )
    members = [writer.add(names.README, (Path(__file__).parent / "readme.txt").read_bytes())]
    members.append(writer.add(names.ABOUT, _pretty(about)))
    parts = [_write_part(writer, folder, finished.part) for finished in contents.parts]
    members += _write_objects(writer, folder, contents.refs)
    members += _write_contract(writer, contents.database)
    members += _write_experiment(writer, folder, contents.refs)
    manifest = _manifest(about, contents, tuple(parts), tuple(members))
    text = _pretty(manifest)
    writer.add(names.MANIFEST, text)
    writer.add(names.MANIFEST_SUM, manifest_sum(text))
    return manifest


def _write_part(writer: ContainerWriter, folder: Path, part: Part) -> Part:
    written = writer.add(part.name, folder / part.name)
    if written.sha256 != part.sha256:
        raise DataError(f"{folder / part.name} is damaged: call again, and it is read again")
    return msgspec.structs.replace(part, offset=written.offset)


def _write_objects(writer: ContainerWriter, folder: Path, refs: Refs) -> list[Member]:
    members = []
    for file in sorted((folder / "objects").iterdir()):
        if file.name in refs.objects:
            members.append(writer.add(f"objects/{file.name}", file))
            if members[-1].sha256 != file.name:
                raise DataError(f"{file} is damaged: remove it, and call again")
    return members


def _write_contract(writer: ContainerWriter, database: str) -> list[Member]:
    schemas = sorted((contract.streams() / "schemas").glob("*.json"))
    stream = writer.add(names.STREAM, _pretty(definition("stream.json", database)))
    return [stream, *(writer.add(f"schemas/{schema.name}", schema) for schema in schemas)]


def _write_experiment(writer: ContainerWriter, folder: Path, refs: Refs) -> list[Member]:
    if refs.experiment is None:
        return []
    file = folder / "objects" / refs.experiment.sha256
    return [writer.add(names.EXPERIMENT, file)] if file.is_file() else []


def _manifest(about: About, contents: Contents, parts: tuple[Part, ...], members: tuple[Member, ...]) -> Manifest:
    counts: Counter[str] = Counter()
    for finished in contents.parts:
        counts.update(finished.counts)
    return Manifest(
        **msgspec.structs.asdict(about),
        duckdb=duckdb.__version__,
        ended=any(finished.ended for finished in contents.parts),
        events=about.last - about.first + 1,
        counts=dict(sorted(counts.items())),
        chain=contents.parts[-1].part.after,
        parts=parts,
        members=members,
        missing=contents.missing,
        resources=dict(sorted(contents.resources.items())),
    )


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
