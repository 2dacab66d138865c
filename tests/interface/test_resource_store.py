"""`VmResourceStore` against a real server: one copy per host, whole and right, fetched once."""

from __future__ import annotations

import fcntl
import hashlib
import io
import lzma
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.interface.in_force import use
from vmr.errors import DataError
from vmr.file_store import FileStore
from vmr.local_copies import LocalCopies
from vmr.log import AsyncLog, Log
from vmr.schedule import ObjectRef
from vmr.settings import Settings
from vmr.vm_resource_store import VmResourceStore


@pytest.fixture
def own(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Put settings in force with a new, empty log, and a home folder of the test's own."""
    made = Settings(home=tmp_path / "home", db=settings.db)
    (made.home).mkdir()
    (made.home / "server").symlink_to(settings.server_dir)
    use(made, monkeypatch)
    return made


@pytest.fixture
def store(own: Settings) -> Iterator[VmResourceStore]:
    """Yield a store on a new, empty log."""
    with VmResourceStore() as made:
        assert Path(made.cache).is_relative_to(own.home)
        yield made


def test_a_file_is_stored_under_its_base_name(store: VmResourceStore, tmp_path: Path) -> None:
    """Its path is in the cache, ends with its name, and what is there is what was stored."""
    source = tmp_path / "some folder" / "install.sh"
    source.parent.mkdir()
    source.write_bytes(b"#!/bin/sh\n\xff")
    before = datetime.now(UTC)
    store.add_file(str(source))
    path = Path(store.get_path("install.sh"))
    assert path.read_bytes() == b"#!/bin/sh\n\xff"
    assert path.name == "install.sh"
    assert path.is_relative_to(store.cache)
    assert store.get_file_path("install.sh") == str(path)
    assert store.get_file_size("install.sh") == 11
    assert store.get_file_hash("install.sh") == hashlib.sha256(b"#!/bin/sh\n\xff").hexdigest()
    uploaded = store.get_file_upload_date("install.sh")
    assert uploaded is not None
    assert before - timedelta(seconds=1) < uploaded < datetime.now(UTC) + timedelta(seconds=1)


def test_a_store_is_a_file_store_of_the_default_name(store: VmResourceStore, own: Settings) -> None:
    """Handlers take their files from there; its copies are in the home folder."""
    assert isinstance(store, FileStore)
    assert (store.store, store.decompress) == ("vm_resources", False)
    assert Path(store.cache) == own.home / "cache" / "vm_resources"
    assert Path(store.cache).is_dir()


def test_what_is_not_there_is_said(store: VmResourceStore, tmp_path: Path) -> None:
    """By an error where a file is needed, by nothing where one is asked about."""
    for ask in (store.get_path, store.get_file_path, store.get_file_size):
        with pytest.raises(FileNotFoundError, match="absent"):
            ask("absent")
    assert store.get_file_hash("absent") == ""
    assert store.get_file_upload_date("absent") is None
    assert store.check_path("absent") is False
    with pytest.raises(OSError, match="absent"):
        store.add_file(str(tmp_path / "absent"))
    with pytest.raises(OSError, match="no file"):
        store.add_file(str(tmp_path))
    store.remove_file("absent*")


def test_content_is_text_or_bytes(store: VmResourceStore) -> None:
    """Text is UTF-8; an empty file is a file."""
    store.add_file_from_content("größe", "a.txt")
    store.add_file_from_content(b"\0\xff", "b.bin", broadcast=False)
    store.add_file_from_content("", "empty")
    read = {name: Path(store.get_path(name)).read_bytes() for name in store.list_distinct_contents()}
    assert read == {"a.txt": "größe".encode(), "b.bin": b"\0\xff", "empty": b""}


def test_force_says_whether_a_file_is_replaced(store: VmResourceStore, tmp_path: Path) -> None:
    """By default it is; the path of the new content is another one, and the old copy stays as it was."""
    store.add_file_from_content("old", "f")
    old = Path(store.get_path("f"))
    store.add_file_from_content("other", "f", force=False)
    assert store.get_path("f") == str(old)
    source = tmp_path / "f"
    source.write_text("new")
    store.add_file(source, force=False)
    assert store.get_path("f") == str(old)
    store.add_file(source)
    assert Path(store.get_path("f")).read_text() == "new"
    assert old.read_text() == "old"


@pytest.mark.parametrize("name", ["two words", "a/b/c", "..", ".", ".lock", "Größe 雪", "x" * 255, "\n", "a*b", "-rf"])
def test_any_name_is_a_name(store: VmResourceStore, name: str) -> None:
    """Its copy never lies outside of the cache."""
    store.add_file_from_content(name, name)
    path = Path(store.get_path(name))
    assert path.read_text() == name
    assert path.resolve().is_relative_to(Path(store.cache).resolve())
    assert store.list_distinct_contents() == [name]


def test_listings_have_names_that_match(store: VmResourceStore) -> None:
    """Tuples with the name at index 1, in order of the names; removing is by pattern as well."""
    for name in ("b.sh", "a.sh", "c.txt"):
        store.add_file_from_content(name * 2, name)
    assert [row[1] for row in store.list_contents("*.sh")] == ["a.sh", "b.sh"]
    kind, name, size, uploaded, digest = store.list_contents("c*")[0]
    assert (kind, name, size, digest) == ("", "c.txt", 10, hashlib.sha256(b"c.txtc.txt").hexdigest())
    assert uploaded.tzinfo is not None
    assert store.list_distinct_contents("") == ["a.sh", "b.sh", "c.txt"]
    store.remove_file("*.sh")
    assert store.list_distinct_contents() == ["c.txt"]
    store.add_file_from_content("again", "a.sh")
    assert store.list_distinct_contents("[ab]*") == ["a.sh"]


def test_a_file_is_read_in_pieces_within_a_with_block(store: VmResourceStore) -> None:
    """Outside of one it is an error, and so is a file that is not there, on entering."""
    store.add_file_from_content("0123456789", "digits")
    reader = store.get_file("digits")
    with pytest.raises(RuntimeError, match="with"):
        reader.read()
    with reader as file:
        assert [file.read(4), file.read(4), file.read(4), file.read(4)] == [b"0123", b"4567", b"89", b""]
    with pytest.raises(RuntimeError, match="with"):
        reader.read()
    with store.get_file("digits") as file:
        assert file.read() == b"0123456789"
    absent = store.get_file("absent")
    with pytest.raises(FileNotFoundError), absent:
        pass


def test_stores_are_namespaces(store: VmResourceStore) -> None:
    """The same name is another file in another store, also in one with an odd name."""
    store.add_file_from_content("here", "f")
    with FileStore("images/../x") as other:
        assert other.list_distinct_contents() == []
        other.add_file_from_content("there", "f")
        assert Path(other.get_path("f")).read_text() == "there"
        assert Path(other.cache).parent == Path(store.cache).parent
    assert Path(store.get_path("f")).read_text() == "here"


def test_a_copy_that_was_changed_is_made_anew(store: VmResourceStore) -> None:
    """Whoever changed, cut or removed it; an untouched one is left alone."""
    store.add_file_from_content("right", "f")
    path = Path(store.get_path("f"))
    assert store.check_path("f")
    inode = path.stat().st_ino
    assert Path(store.get_path("f")).stat().st_ino == inode
    path.write_text("wrong")
    assert not store.check_path("f")
    assert Path(store.get_path("f")).read_text() == "right"
    path.unlink()
    assert Path(store.get_path("f")).read_text() == "right"


def test_one_content_with_two_names_is_fetched_once(store: VmResourceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second name is another name of the same copy."""
    store.add_file_from_content("same", "a")
    store.add_file_from_content("same", "b")
    first = Path(store.get_path("a"))

    async def no_fetch(*_: object, **__: object) -> None:
        raise AssertionError("fetched twice")

    monkeypatch.setattr(AsyncLog, "fetch_object", no_fetch)
    second = Path(store.get_path("b"))
    assert second != first
    assert second.samefile(first)


def test_damaged_content_never_becomes_a_copy(store: VmResourceStore) -> None:
    """The error is a `DataError`; nothing is left behind."""
    store.add_file_from_content("right", "f")

    def wrong(path: Path) -> None:
        path.write_text("torso")
        raise DataError("does not match its hash")

    copies, digest = LocalCopies(Path(store.cache)), hashlib.sha256(b"right").hexdigest()
    resource = store._resource("f")
    with pytest.raises(DataError):
        copies.get("f", resource.object, wrong)
    assert not copies.present("f", resource.object)
    assert Path(store.get_path("f")).read_text() == "right"
    assert {path.name for path in (Path(store.cache) / digest).iterdir()} == {".lock", "f"}


def _get(name: str) -> tuple[str, int]:
    """Return the path of a file's copy and the inode it has, in a process or thread of its own."""
    with VmResourceStore() as store:
        path = store.get_path(name)
        return path, Path(path).stat().st_ino


def test_threads_and_processes_fetch_once(
    store: VmResourceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them get the one copy that the first of them made."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(1 << 20) * 30)
    store.add_file(source)
    fetches: list[int] = []
    fetch = AsyncLog.fetch_object

    async def counted(log: AsyncLog, *arguments: object, **named: object) -> None:
        fetches.append(1)
        await fetch(log, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(AsyncLog, "fetch_object", counted)
    with multiprocessing.get_context("spawn").Pool(2) as processes, ThreadPoolExecutor(8) as threads:
        far = [processes.apply_async(_get, ("large",)) for _ in range(2)]
        near = list(threads.map(_get, ["large"] * 8))
        found = {*near, *(result.get(60) for result in far)}
    assert len(found) == 1
    assert len(fetches) <= 1
    assert Path(next(iter(found))[0]).read_bytes() == source.read_bytes()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_meanwhile_does_not_keep_a_lock(tmp_path: Path) -> None:
    """It has the lock's file open as well, and lives on."""
    copies, ref = LocalCopies(tmp_path), ObjectRef("0" * 64, 0)
    reading, writing = os.pipe()
    with copies.locked(ref):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
    try:
        with (tmp_path / ref.sha256 / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_fetch_that_died_leaves_nothing_in_the_way(store: VmResourceStore) -> None:
    """What it left is removed by the next one."""
    store.add_file_from_content("right", "f")
    folder = Path(store.get_file_path("f")).parent
    folder.mkdir(parents=True)
    (folder / ".f.part").write_text("half")
    (folder / "..f.part.abc").write_text("half")
    (folder / ".x.part").mkdir()
    assert Path(store.get_path("f")).read_text() == "right"
    assert {path.name for path in folder.iterdir()} == {".lock", "f"}


def test_progress_is_told(store: VmResourceStore, tmp_path: Path) -> None:
    """In bytes, rising, up to all of them, both ways."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(5_000_000))
    told: list[tuple[int, int]] = []
    store.add_file(source, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == (5_000_000, 5_000_000)
    told.clear()
    store.get_path("large", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (5_000_000, 5_000_000)
    told.clear()
    store.get_path("large", progress=lambda done, total: told.append((done, total)))
    assert told == []


def archive(members: dict[str, bytes], *links: tuple[str, str]) -> bytes:
    """Return a compressed archive of files and symbolic links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            file.addfile(info)
    return packed.getvalue()


@pytest.mark.usefixtures("own")
def test_compressed_files_are_unpacked() -> None:
    """An .xz file to a file; an archive of one thing to that thing, of several to a folder; all without the extension."""
    with VmResourceStore(decompress=True) as store:
        store.add_file_from_content(lzma.compress(b"image"), "disk.img.xz")
        store.add_file_from_content(archive({"disk.qcow2": b"one"}), "disk.qcow2.tar.gz")
        store.add_file_from_content(archive({"a": b"1", "d/b": b"2"}), "several.tar.gz")
        store.add_file_from_content(b"plain", "plain.txt")
        image, single, folder = (
            Path(store.get_path(f"{name}")) for name in ("disk.img.xz", "disk.qcow2.tar.gz", "several.tar.gz")
        )
        assert (image.name, image.read_bytes()) == ("disk.img", b"image")
        assert (single.name, single.read_bytes()) == ("disk.qcow2", b"one")
        assert folder.name == "several"
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {"a", "d/b"}
        assert Path(store.get_path("plain.txt")).read_bytes() == b"plain"
        assert store.get_path("disk.img.xz") == str(image)
        assert store.get_file_size("disk.img.xz") == len(lzma.compress(b"image"))
        store.add_file_from_content(lzma.compress(b"image"), "disk.img")
        assert Path(store.get_path("disk.img")).read_bytes() == lzma.compress(b"image")
        assert image.read_bytes() == b"image"
    with VmResourceStore() as packed:
        assert Path(packed.get_path("disk.img.xz")).name == "disk.img.xz"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "content",
    [
        archive({"../outside": b"x"}),
        archive({"d/../../outside": b"x"}),
        archive({}, ("link", "/etc"), ("other", "../../..")),
        archive({"fine": b"x"})[:-20],
        b"no archive at all",
    ],
    ids=["a file outside", "by way of a folder", "links", "cut off", "no archive"],
)
def test_an_archive_that_would_write_elsewhere_is_refused(content: bytes) -> None:
    """As is a damaged one; nothing of it is left."""
    with VmResourceStore(decompress=True) as store:
        store.add_file_from_content(content, "bad.tar.gz")
        for _ in range(2):
            with pytest.raises(DataError, match="bad"):
                store.get_path("bad.tar.gz")
        assert not list(Path(store.cache).rglob("outside"))
        assert not list(Path(store.cache).rglob("bad"))


@pytest.mark.usefixtures("own")
def test_a_damaged_xz_file_is_refused() -> None:
    """The message names it."""
    with VmResourceStore(decompress=True) as store:
        store.add_file_from_content(lzma.compress(b"x" * 1000)[:-9], "image.xz")
        with pytest.raises(DataError, match=r"image\.xz"):
            store.get_path("image.xz")


def test_what_handlers_load_is_what_was_added(store: VmResourceStore, own: Settings) -> None:
    """The event in the log names the content that another process stored."""
    store.add_file_from_content("content", "f")
    with Log.connect(own) as log:
        log.put_resource(Path(store.get_path("f")), name="g")
    assert store.list_distinct_contents() == ["f", "g"]
    assert store.get_file_hash("g") == store.get_file_hash("f")


@pytest.mark.usefixtures("own")
def test_a_cache_that_cannot_be_made_is_a_permission_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the folder."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="cache"):
        VmResourceStore()


def test_an_object_is_closed_for_itself_only(store: VmResourceStore) -> None:
    """Others go on."""
    other = VmResourceStore()
    other.close()
    other.close()
    with pytest.raises(ConnectionError, match="closed"):
        other.list_contents()
    assert store.list_contents() == []
