"""Where exports are written: whole or not at all, and never over what somebody else has there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.exports.run_files import fold
from tests.readmodel.recorded_run import recorded_run
from vmr.errors import DataError, InvalidInputError
from vmr.exports import FORMATS
from vmr.exports.of_run import export, export_run
from vmr.settings import Settings


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a read model with the recorded run."""
    return fold(tmp_path_factory.mktemp("run") / "run.duckdb", recorded_run())


def _content(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_is_replaced_only_when_asked(run_file: Path, tmp_path: Path, form: str) -> None:
    """Without --force nothing is touched; with it the old is gone and the new is whole, and nothing lies beside it."""
    target = tmp_path / "out"
    target.write_text("mine")
    with pytest.raises(InvalidInputError, match=r"out is there already; give another name, or --force"):
        export(form, run_file, target)
    assert _content(tmp_path) == {"out": b"mine"}
    export(form, run_file, target, force=True)
    once = _content(tmp_path)
    assert b"mine" not in once.values()
    export(form, run_file, target, force=True)
    assert _content(tmp_path).keys() == once.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("form", FORMATS)
def test_folder_of_somebody_else_is_never_replaced(run_file: Path, tmp_path: Path, form: str) -> None:
    """--force is about exports: a folder that is none stays, whatever it holds, and so does a link."""
    target = tmp_path / "home"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    (tmp_path / "link").symlink_to(target)
    for path in (target, tmp_path / "link"):
        with pytest.raises(InvalidInputError, match="is not replaced; give another name"):
            export(form, run_file, path, force=True)
    assert _content(target) == {"thesis.tex": b"years of work"}


@contextlib.contextmanager
def _small_files() -> Iterator[None]:
    """Let no file of this process grow beyond 2 kB: writing more fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_half_written_is_left_where_no_more_can_be_written(run_file: Path, tmp_path: Path, form: str) -> None:
    """One line says which file and why; what was there before is there still."""
    target = tmp_path / "out"
    target.write_text("the last one")
    with _small_files(), pytest.raises(InvalidInputError, match=r"out: cannot be written: File too large") as raised:
        export(form, run_file, target, force=True)
    assert "\n" not in str(raised.value)
    assert _content(tmp_path) == {"out": b"the last one"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield the folder of a disk of 32 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", folder], check=False).returncode == 0
    )
    if not mounted:
        pytest.skip("a disk of its own takes root, and a kernel that lets it mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_full_disk(run_file: Path, small_disk: Path) -> None:
    """The same on a disk that is full: its own words, and its room given back."""
    (small_disk / "full").write_bytes(bytes(28_000))
    for form in FORMATS:
        with pytest.raises(InvalidInputError, match=r"out: cannot be written: No space left on device"):
            export(form, run_file, small_disk / "out")
        assert [path.name for path in small_disk.iterdir()] == ["full"]


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def test_what_a_killed_export_has_left_is_removed_by_the_next(run_file: Path, tmp_path: Path) -> None:
    """A process that is killed cannot clean up; one that still works on the same file is left alone."""
    killed, working = tmp_path / ".out.abcd1234.part", tmp_path / ".out.efgh5678.part"
    for folder in (killed, working):
        folder.mkdir()
        (folder / "out").write_text("half")
    descriptor = os.open(working, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        export("openmetrics", run_file, tmp_path / "out")
    finally:
        os.close(descriptor)
    assert sorted(path.name for path in tmp_path.iterdir()) == [working.name, "out"]


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda folder: folder / "missing" / "out", "there is no folder"),
    "no name": (lambda folder: folder / "..", "is no name of a file"),
    "a pipe": (lambda folder: _pipe(folder / "pipe"), "is no regular file, and is not replaced"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_targets_that_are_none(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    """What cannot be written is said before a long run is read."""
    with pytest.raises(InvalidInputError, match=said):
        export_run("openmetrics", "no such run", Settings(home=tmp_path), make(tmp_path), force=True)


def test_sources_that_are_none(tmp_path: Path) -> None:
    """A file that is no record is named, and nothing is written."""
    (tmp_path / "letter.txt").write_text("Dear colleague")
    with pytest.raises(DataError, match=r"letter\.txt is no record"):
        export_run("perfetto", str(tmp_path / "letter.txt"), Settings(home=tmp_path), tmp_path / "out")
    with pytest.raises(InvalidInputError, match=r"there is no file .*missing\.zip"):
        export_run("cloudevents", str(tmp_path / "missing.zip"), Settings(home=tmp_path), tmp_path / "out")
    with pytest.raises(InvalidInputError, match="no format 'pdf'; there are: perfetto, cloudevents"):
        export_run("pdf", None, Settings(home=tmp_path), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
