"""Copies of guests' files on the handler's host: which to make, where they go, and making them whole or not at all.

Paths come from a guest and are hostile: a copy never leaves the VM's own folder, whatever the guest calls its files.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import structlog

from vmr.dialect import POSIX, Dialect
from vmr.errors import AgentError
from vmr.events import FileTransferred
from vmr.guest import Guest
from vmr.schedule import Entry
from vmr.spool import GuestFile
from vmr.subjects import encode_token

logger = structlog.get_logger(__name__)


def host_path(root: Path, vm_name: str, guest_path: str, dialect: Dialect = POSIX) -> Path:
    """Return where the copy of a guest's file goes: ``<root>/<vm>/<path in the guest>``.

    A VM's name that cannot be a file name is encoded as in subjects. Raises `DataError` for a path that is not absolute or climbs.
    """
    parts = dialect.path_parts(guest_path)
    plain = "/" not in vm_name and "\0" not in vm_name and vm_name not in {"", ".", ".."}
    return root.joinpath(vm_name if plain else encode_token(vm_name), *parts)


class TransferTask:
    """The copies of one transfer entry of one VM, and what was copied already.

    Attributes:
        pattern: what to copy, as in the entry.
        found: whether a file was ever there.

    """

    def __init__(self, uuid: str, vm_name: str, entry: Entry, root: Path) -> None:
        assert entry.transfer is not None
        self._uuid = uuid
        self._vm_name = vm_name
        self._entry = entry.id
        self.pattern = entry.transfer.location
        self._root = Path(entry.transfer.destination) if entry.transfer.destination else root
        self._seen: dict[str, tuple[int, int]] = {}
        self.found = False

    async def copy(self, guest: Guest) -> list[FileTransferred]:
        """Copy what is new or has changed since the last call; return an event for each file. Raises `OSError` and guest errors."""
        copied = []
        for file in await guest.list_files(self.pattern):
            self.found = True
            if self._seen.get(file.path) == (file.size, file.modified):
                continue
            try:
                copied.append(await self._copy_one(guest, file))
            except AgentError as error:  # it went away between the listing and the reading: the next copy will tell
                logger.warning("file not copied", vm=self._vm_name, path=file.path, error=str(error))
                continue
            self._seen[file.path] = (file.size, file.modified)
        return copied

    async def _copy_one(self, guest: Guest, file: GuestFile) -> FileTransferred:
        target = host_path(self._root, self._vm_name, file.path, guest.dialect)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A handler before this one may still be at the same copy.
        part = target.with_name(f".{f'{target.name}.{secrets.token_hex(4)}.vmr-part'[-200:]}")
        try:
            size, digest = await guest.fetch(file.path, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return FileTransferred(
            server_uuid=self._uuid,
            entry=self._entry,
            guest_path=file.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            host_path=os.fsencode(target).decode("utf-8", "replace"),
            size=size,
            sha256=digest,
        )
