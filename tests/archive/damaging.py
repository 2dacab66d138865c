"""Archives that are damaged on purpose, and what may be said of them."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path
from typing import Self, TypeAlias

import duckdb
import msgspec

from vmr.archive import Manifest, Member, Part, Verdict, open_archive
from vmr.archive._container_writer import ContainerWriter
from vmr.archive._manifest import ABOUT, MANIFEST, MANIFEST_SUM, manifest_sum
from vmr.errors import DataError

Outcome: TypeAlias = Verdict | DataError


def flipped(data: bytes, bit: int) -> bytes:
    """Return ``data`` with one bit flipped."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Golden(msgspec.Struct, frozen=True):
    """An archive that is whole: its bytes, and where everything is in it."""

    data: bytes
    manifest: Manifest

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the archive at ``path``."""
        with open_archive(path) as opened:
            return cls(path.read_bytes(), opened.manifest)

    def judge_flip(self, place: int, outcome: Outcome) -> str:
        """Return what is wrong with ``outcome`` for a flip in the byte at ``place``; nothing when it is right."""
        if not isinstance(outcome, Verdict) or outcome.whole:
            return f"flip in byte {place}: {outcome}"
        part = self._at(place, self.manifest.parts)
        member = self._at(place, self.manifest.members)
        if isinstance(part, Part) and outcome.first_bad is not None:
            return "" if part.first <= outcome.first_bad <= part.last else f"flip in {part.name}: {outcome}"
        named = part or member
        if outcome.first_bad is not None or (named is not None and not outcome.damaged[0].startswith(named.name)):
            return f"flip in byte {place}, {named}: {outcome}"
        return ""

    def judge_cut(self, end: int, outcome: Outcome) -> str:
        """Return what is wrong with ``outcome`` for a file of the first ``end`` bytes; nothing when it is right."""
        about = next(member for member in self.manifest.members if member.name == ABOUT)
        if end < about.offset + about.size:
            return "" if isinstance(outcome, DataError) else f"cut to {end}: {outcome}"
        lost = [part for part in self.manifest.parts if end < part.offset + part.size]
        if not isinstance(outcome, Verdict) or outcome.whole:
            return f"cut to {end}: {outcome}"
        return "" if outcome.first_bad == (lost[0].first if lost else None) else f"cut to {end}: {outcome}"

    def _at(self, place: int, members: tuple[Member, ...] | tuple[Part, ...]) -> Member | None:
        return next((one for one in members if one.offset <= place < one.offset + one.size), None)

    def forge(self, path: Path, sequence: int) -> Path:
        """Write the archive anew with another message in the event ``sequence``, and everything but the chain made to match."""
        writer = ContainerWriter(path, self.manifest.created)
        written: dict[str, Member] = {}
        with zipfile.ZipFile(_file(self.data)) as source, tempfile.TemporaryDirectory() as folder:
            for name in source.namelist():
                if name in {MANIFEST, MANIFEST_SUM}:
                    continue
                content: bytes | Path = source.read(name)
                part = next((one for one in self.manifest.parts if one.name == name), None)
                if part is not None and part.first <= sequence <= part.last:
                    content = _forged_part(Path(folder), source.read(name), sequence)
                written[name] = writer.add(name, content)
        text = msgspec.json.encode(self._with(written))
        writer.add(MANIFEST, text)
        writer.add(MANIFEST_SUM, manifest_sum(text))
        writer.seal()
        return path

    def _with(self, written: dict[str, Member]) -> Manifest:
        parts = tuple(msgspec.structs.replace(part, **_place(written[part.name])) for part in self.manifest.parts)
        members = tuple(written[member.name] for member in self.manifest.members)
        return msgspec.structs.replace(self.manifest, parts=parts, members=members)


def _place(member: Member) -> dict[str, int | str]:
    return {"size": member.size, "sha256": member.sha256, "offset": member.offset}


def _file(data: bytes) -> Path:
    path = Path(tempfile.gettempdir()) / f"{hashlib.sha256(data).hexdigest()}.zip"
    path.write_bytes(data)
    return path


def _forged_part(folder: Path, content: bytes, sequence: int) -> bytes:
    before, after = folder / "before.parquet", folder / "after.parquet"
    before.write_bytes(content)
    with duckdb.connect() as connection:
        replaced = f"CASE WHEN seq = {sequence} THEN payload || ' '::BLOB ELSE payload END AS payload"
        connection.execute(f"COPY (SELECT * REPLACE ({replaced}) FROM '{before}') TO '{after}'")  # noqa: S608 - a test's own
    return after.read_bytes()
