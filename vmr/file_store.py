"""`FileStore`: named files that every host of an experiment can read, each with one local copy per host.

The log says which content has which name; contents are in the object store under their SHA-256. Every call asks the log, and
so sees what any process's finished call did.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from vmr.errors import VmrError
from vmr.events import ResourceRemoved, ResourceUploaded
from vmr.local_copies import LocalCopies
from vmr.resource_index import Resource, ResourceIndexes
from vmr.settings import load_settings
from vmr.shared_log import SharedLog
from vmr.subjects import encode_token
from vmr.unpacking import unpack, unpacked_name

READ_SIZE: Final = 16 * 1024 * 1024
Progress = Callable[[int, int], None]
"""Told the bytes that are done, and how many there are."""

_log = logging.getLogger(__name__)


class StoredFile(NamedTuple):
    """What a store says of a file, in the order in which a listing has it.

    Attributes:
        kind: empty, for a file (a listing of minimega's says ``<dir>`` here).
        name: its name.
        size: in bytes.
        uploaded: when (UTC).
        sha256: of its content.

    """

    kind: str
    name: str
    size: int
    uploaded: datetime
    sha256: str


class FileStore:
    """The files of one store, by name.

    All methods may be called by many threads and processes at once. Every one raises `ConnectionError` within seconds, saying what to
    type, when the log cannot be reached.

    Args:
        store: name of the store; each is a namespace of its own.
        decompress: whether `get_path` unpacks ``.xz`` and ``.tar.gz`` files, and returns the path of what was in them.

    Attributes:
        store: as given.
        decompress: as given.
        cache: folder of this host's copies; what is in it may be removed while nothing runs, and is fetched again.

    Raises `PermissionError` when the folder of the copies cannot be made.

    """

    def __init__(self, store: str, decompress: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        settings = load_settings()
        self.store = store
        self.decompress = decompress
        folder = settings.home / "cache" / encode_token(store)
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(
                f"{folder} cannot be written: give it to this user, or set VMR_HOME to another folder"
            )
        self.cache = str(folder)
        self._copies = LocalCopies(folder)
        self._unpacked = LocalCopies(folder / "unpacked")
        self._shared = SharedLog(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add_file(self, path: str | Path, force: bool = True, *, progress: Progress | None = None) -> None:  # noqa: FBT001, FBT002 - the documented interface
        """Store the local file at ``path`` under its base name, in place of the one before; in constant memory, whatever its size.

        With ``force=False`` a name that is there already keeps its content. ``progress`` is called, now and then and from another
        thread (it must not call the store), with the bytes done and all bytes. Raises `OSError` when the file cannot be read or stored.
        """
        source = Path(path)
        if not source.is_file():
            raise FileNotFoundError(f"{source} is not there, or is no file: give the path of a local file")
        with source.open("rb"):  # what cannot be read is an OSError of its own kind
            pass
        self._add(source.name, source, force=force, progress=progress)

    def add_file_from_content(
        self,
        content: str | bytes,
        filename: str,
        force: bool = True,  # noqa: FBT001, FBT002 - the documented interface
        broadcast: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> None:
        """Store ``content`` (text as UTF-8) under ``filename``, in place of what was there.

        With ``force=False`` a name that is there already keeps its content. ``broadcast`` makes no difference: every host reads the
        same log. Raises `OSError` when it cannot be stored.
        """
        self._add(filename, content.encode() if isinstance(content, str) else bytes(content), force=force)

    def _add(self, name: str, content: bytes | Path, *, force: bool, progress: Progress | None = None) -> None:
        if not force and name in self._files():
            return
        try:
            ref = self._shared.run(lambda log: log.put_object(content, progress=progress))
            self._shared.publish(ResourceUploaded(store=self.store, name=name, object=ref))
        except OSError:
            raise
        except VmrError as error:
            raise OSError(f"{name!r} was not stored in {self.store!r}: {error}") from error
        _log.debug("stored %r in %r: %d bytes", name, self.store, ref.size)

    def get_path(self, filename: str, *, progress: Progress | None = None) -> str:
        """Make sure that this host has a copy of the file, and return its path.

        Callers that ask for the same content at the same time, in whatever thread or process, cause one transfer. Its hash is
        verified, and the copy appears as a whole; treat it as read-only. With ``decompress``, a ``.xz`` or ``.tar.gz`` file is
        unpacked and the path is that of what was in it (of the folder, where that was more than one thing), without the extension.
        ``progress`` is called, from time to time and from another thread (it must not call the store), with the bytes done and all bytes.

        Raises `FileNotFoundError` when the store has no such file and `vmr.errors.DataError` for damaged content or an archive that
        would write elsewhere.
        """
        resource = self._resource(filename)

        def fetch(target: Path) -> None:
            self._shared.run(lambda log: log.fetch_object(resource.object, target, progress=progress))

        path = self._copies.get(filename, resource.object, fetch)
        unpacked = unpacked_name(filename) if self.decompress else None
        if unpacked is not None:
            name = Path(filename).name
            return str(self._unpacked.made(unpacked, resource.object, lambda folder: unpack(path, name, folder)))
        return str(path)

    def get_file_path(self, filename: str) -> str:
        """Return where this host's copy of the file is, or will be once `get_path` was called; `FileNotFoundError` as there."""
        return str(self._copies.path(filename, self._resource(filename).object))

    def check_path(self, path: str) -> bool:
        """Return whether this host has a copy of the file ``path`` (its name in the store) with its present content."""
        resource = self._files().get(path)
        return resource is not None and self._copies.present(path, resource.object)

    def get_file(self, filename: str) -> FileReader:
        """Return a context manager whose `FileReader.read` reads the file; entering it raises `FileNotFoundError`."""
        return FileReader(self, filename)

    def get_file_size(self, filename: str) -> int:
        """Return the size of the file in bytes; raise `FileNotFoundError` when the store has none of this name."""
        return self._resource(filename).object.size

    def get_file_hash(self, filename: str) -> str:
        """Return the SHA-256 of the file, in lower-case hexadecimal; empty when the store has none of this name."""
        resource = self._files().get(filename)
        return "" if resource is None else resource.object.sha256

    def get_file_upload_date(self, filename: str) -> datetime | None:
        """Return when the file was uploaded (aware, UTC); None when the store has none of this name."""
        resource = self._files().get(filename)
        return None if resource is None else resource.uploaded

    def list_contents(self, pattern: str | None = None) -> list[StoredFile]:
        """Return the files whose names match ``pattern`` (shell wildcards; None: all), in order of the names."""
        files = self._files()
        return [_row(files[name]) for name in sorted(files) if not pattern or fnmatchcase(name, pattern)]

    def list_distinct_contents(self, pattern: str | None = None) -> list[str]:
        """Return the names of the files that match ``pattern`` (shell wildcards; None: all), in order."""
        return [found.name for found in self.list_contents(pattern)]

    def remove_file(self, filename: str) -> None:
        """Remove the files whose names match ``filename`` (shell wildcards); that there is none is no error.

        Contents, and the copies that hosts have of them, stay: what ran with them can still be looked at.
        """
        names = self.list_distinct_contents(filename)
        self._shared.publish_many([ResourceRemoved(store=self.store, name=name) for name in names])

    def close(self) -> None:
        """Give up this object's share in the connection; others keep theirs. Closing twice does nothing."""
        self._shared.close()

    def _files(self) -> Mapping[str, Resource]:
        indexes = self._shared.kept(ResourceIndexes)
        return self._shared.run(lambda log: indexes.files(log, self.store))

    def _resource(self, filename: str) -> Resource:
        resource = self._files().get(filename)
        if resource is None:
            raise FileNotFoundError(f"store {self.store!r} has no file {filename!r}: add it with add_file")
        return resource


class FileReader:
    """A file of a store, to be read in a ``with`` block."""

    def __init__(self, store: FileStore, filename: str) -> None:
        self._store = store
        self._filename = filename
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = Path(self._store.get_path(self._filename)).open("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def read(self, size: int = READ_SIZE) -> bytes:
        """Return the next ``size`` bytes of the file, fewer at its end, none after it; `RuntimeError` outside of a ``with`` block."""
        if self._file is None:
            raise RuntimeError(f"file {self._filename!r} is not open: read it in a `with store.get_file(...)` block")
        return self._file.read(size)


def _row(resource: Resource) -> StoredFile:
    return StoredFile("", resource.name, resource.object.size, resource.uploaded, resource.object.sha256)
