"""What claims to be an archive, and is something else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest

from tests.archive.damaging import Golden
from vmr.archive import open_archive, verify_archive
from vmr.archive._container_writer import ContainerWriter
from vmr.archive._manifest import ABOUT, MANIFEST, MANIFEST_SUM, README, manifest_sum
from vmr.errors import DamagedArchiveError, DataError, NewerArchiveError, NotAnArchiveError


@pytest.fixture
def golden(archive: Path) -> Golden:
    """Return an archive that is whole."""
    return Golden.of(archive)


def rewritten(golden: Golden, path: Path, changes: dict[str, bytes], *, compress: bool = False) -> Path:
    """Write the archive anew, as a plain ZIP, with other contents of some members, and more members."""
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    source_path = path.with_suffix(".source")
    source_path.write_bytes(golden.data)
    with zipfile.ZipFile(source_path) as source, zipfile.ZipFile(path, "w", kind) as target:
        for name in source.namelist():
            target.writestr(name, changes.pop(name) if name in changes else source.read(name))
        for name, content in changes.items():
            target.writestr(name, content)
    return path


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04", b"SELECT 1", bytes(100_000), b"PK\x05\x06" + bytes(18)])
def test_another_file_is_no_archive(tmp_path: Path, content: bytes) -> None:
    """One clear line, from opening and from verifying."""
    file = tmp_path / "x.zip"
    file.write_bytes(content)
    for look in (open_archive, verify_archive):
        with pytest.raises(NotAnArchiveError, match=r"x.zip is no archive of vmr's"):
            look(file)


def test_another_zip_is_no_archive(tmp_path: Path) -> None:
    """Whatever is in it; and a file that is not there is told so."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as other:
        other.writestr("letter.txt", "hello")
    for look in (open_archive, verify_archive):
        with pytest.raises(NotAnArchiveError):
            look(tmp_path / "x.zip")
        with pytest.raises(DataError, match="cannot be read: No such file"):
            look(tmp_path / "nothing.zip")


def test_a_newer_format_is_refused_by_its_number(golden: Golden, tmp_path: Path) -> None:
    """Also where it is sealed and has members that are not known."""
    writer = ContainerWriter(tmp_path / "x.zip", golden.manifest.created)
    writer.add(README, b"of the future")
    writer.add(ABOUT, b'{"format": 7, "vmr": "9.1", "everything": "else"}')
    writer.add("hologram/1", b"?")
    writer.seal()
    for look in (open_archive, verify_archive):
        with pytest.raises(NewerArchiveError, match=r"has archive format 7, written by vmr 9.1; .*: update vmr"):
            look(tmp_path / "x.zip")


def test_a_cut_archive_is_told_so(golden: Golden, tmp_path: Path) -> None:
    """Opening it names the command that says more."""
    (tmp_path / "x.zip").write_bytes(golden.data[:-1000])
    with pytest.raises(DamagedArchiveError, match=r"is cut off or damaged .*`vmr archive verify`"):
        open_archive(tmp_path / "x.zip")


def test_names_that_lead_elsewhere_are_never_looked_at(golden: Golden, tmp_path: Path) -> None:
    """Members beside those that archives have are not there, whatever they are called."""
    names = ["../evil", "/etc/passwd", "events/../../evil.parquet", "objects/../x", "C:\\evil", "schemas/" + "a" * 5000]
    path = rewritten(golden, tmp_path / "x.zip", dict.fromkeys(names, b"evil"))
    with open_archive(path) as archive:
        target = tmp_path / "out"
        target.mkdir()
        assert len(archive.extract_events(target)) == len(golden.manifest.parts)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out", "run.zip", "x.source", "x.zip"]


def test_a_member_that_is_compressed_is_refused(golden: Golden, tmp_path: Path) -> None:
    """There is nothing to unpack in an archive, so nothing can be a bomb."""
    bomb = rewritten(golden, tmp_path / "x.zip", {README: bytes(50_000_000)}, compress=True)
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(DamagedArchiveError, match=r"README.txt is compressed or encrypted"):
        open_archive(bomb)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"events": 5}, "its parts end at event"),
        ({"last": 1000}, "its parts end at event"),
        ({"chain": "0" * 64}, "does not end in its head"),
        ({"counts": {}}, "the counts do not add up"),
        ({"parts": ()}, "its parts end at event 0"),
        ({"first": 2}, "does not follow on event 1"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    golden: Golden, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """However right its checksum is."""
    text = msgspec.json.encode(msgspec.structs.replace(golden.manifest, **change))
    path = rewritten(golden, tmp_path / "x.zip", {MANIFEST: text, MANIFEST_SUM: manifest_sum(text)})
    with pytest.raises(DamagedArchiveError, match=said):
        open_archive(path)


def test_a_part_that_is_another_is_never_handed_out(golden: Golden, tmp_path: Path) -> None:
    """Extracting compares with the manifest, and leaves nothing behind."""
    name = golden.manifest.parts[1].name
    size = golden.manifest.parts[1].size
    path = rewritten(golden, tmp_path / "x.zip", {name: bytes(size)})
    folder = tmp_path / "out"
    folder.mkdir()
    with open_archive(path) as archive:
        with pytest.raises(DamagedArchiveError, match=f"{name} is damaged"):
            archive.extract_events(folder)
        with pytest.raises(DamagedArchiveError, match=f"{name} is damaged"):
            list(archive.raw())
    assert [file.name for file in folder.iterdir()] == [Path(golden.manifest.parts[0].name).name]
