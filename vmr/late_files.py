"""Files into and out of running VMs, as late entries of their schedules; and copies brought from the handler's folder to an own one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec

from vmr.errors import InvalidInputError, VmrError
from vmr.events import FileTransferred, ResourceUploaded
from vmr.late_entries import LATE, LateEntry, add, usable
from vmr.log import DEFAULT_STORE, AsyncLog
from vmr.present_vms import PresentVms
from vmr.resource_index import ResourceIndex
from vmr.schedule import Entry, EntryFile, ObjectRef, Transfer, is_absolute

_PIECE: Final = 1 << 20
_WILD: Final = frozenset("*?[")


async def push(
    log: AsyncLog,
    word: str,
    file: Path,
    location: str,
    *,
    overwrite: bool = False,
    executable: bool = False,
    say: Callable[[str], None] = lambda _text: None,
) -> LateEntry:
    """Have ``file`` put into the VM of this name or uuid at ``location``; that it cannot be does not fail the VM.

    The entry holds what is in the file now, whatever becomes of the resource of its name. ``say`` is told how it goes. Raises
    `InvalidInputError`, and records nothing, when ``location`` is no full path or the VM takes no entries.
    """
    _check_location(location, file.name)
    present = await PresentVms.read(log)
    await usable(log, present, word)
    say(f"Adding {file.name!r} as a VM Resource.")
    ref = await log.put_object(file)
    if not await _add_resource(log, file.name, ref):
        say("The store has another file of this name, which other entries may need: it stays as it is.")
    into = EntryFile(location, object=ref, executable=executable)
    entry = Entry("", LATE, files=(into,), ignore_failure=True, overwrite=overwrite)
    late = await add(log, present, word, "push", entry)
    say("Successfully added a new schedule entry.")
    return late


def _check_location(location: str, name: str) -> None:
    if location.endswith(("/", "\\")):
        raise InvalidInputError(f"{location!r} is a folder: give the full path of the file, {location + name!r}")
    if not is_absolute(location) or "\0" in location:
        raise InvalidInputError(f"{location!r} is no full path in the VM: it begins with '/' or a drive")


async def _add_resource(log: AsyncLog, name: str, ref: ObjectRef) -> bool:
    """Add a resource; return False, and change nothing, when another file has the name."""
    there = (await ResourceIndex(DEFAULT_STORE).files(log)).get(name)
    if there is None:
        await log.publish(ResourceUploaded(store=DEFAULT_STORE, name=name, object=ref))
    return there is None or there.object == ref


async def pull(log: AsyncLog, word: str, location: str) -> LateEntry:
    """Have the file, the folder or what fits the wildcards at ``location`` copied out of the VM of this name or uuid.

    Raises `InvalidInputError`, and records nothing, when ``location`` is no full path or the VM takes no entries.
    """
    if not is_absolute(location) or "\0" in location:
        raise InvalidInputError(f"{location!r} is no full path in the VM: it begins with '/' or a drive")
    entry = Entry("", LATE, transfer=Transfer(location), ignore_failure=True)
    return await add(log, await PresentVms.read(log), word, "pull", entry)


class Copy(msgspec.Struct, frozen=True):
    """A copy to make of a file that the handler has copied out of a guest."""

    file: FileTransferred
    target: Path


def copies_of(location: str, files: Sequence[FileTransferred], dest: Path) -> list[Copy]:
    """Return where copies go: the one file that was asked for to ``dest``, or into it when it is a folder; several into the folder.

    Names come from the guest and are hostile: no target is outside of ``dest``. Raises `InvalidInputError` when several would go to a
    place that is no folder.
    """
    if len(files) == 1 and files[0].guest_path == location:
        return [Copy(files[0], dest / _tail(location, "") if dest.is_dir() else dest)]
    if dest.exists() and not dest.is_dir():
        raise InvalidInputError(f"{dest}: is no folder, and there are {len(files)} files for it")
    base = location if not _WILD & set(location) else location[: min(map(location.find, _WILD & set(location)))]
    folder = base.rpartition("/")[0]
    return [Copy(file, dest / _tail(file.guest_path, folder)) for file in files]


def _tail(path: str, folder: str) -> PurePosixPath:
    """Return ``path`` as seen from ``folder``, or its last part when it lies elsewhere or climbs."""
    parts = PurePosixPath(path.removeprefix(f"{folder}/")).parts if folder and path.startswith(f"{folder}/") else ()
    if parts and ".." not in parts and "/" not in parts:
        return PurePosixPath(*parts)
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return PurePosixPath(name if name not in {"", ".", ".."} else "file")


def save(copy: Copy, host: str) -> None:
    """Copy a file from the handler's folder on this host to its target, whole or not at all, checked against its hash.

    Raises `VmrError` when the handler's host, called ``host``, is another one or has a newer file there by now, and
    `InvalidInputError` when the target cannot be written.
    """
    source = Path(copy.file.host_path)
    try:
        original = source.open("rb")
    except OSError as error:
        raise VmrError(
            f"{source} on {host} cannot be read here: {error.strerror}; is the handler on this host?"
        ) from error
    part = copy.target.with_name(f".{copy.target.name}.vmr-part"[-255:])
    try:
        copy.target.parent.mkdir(parents=True, exist_ok=True)
        with original, part.open("wb") as file:
            digest = _copy(original, file)
        if digest != copy.file.sha256:
            raise VmrError(f"{source} on {host} has changed since it came out of the guest: pull it again")
        part.replace(copy.target)
    except OSError as error:
        raise InvalidInputError(f"{copy.target}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
