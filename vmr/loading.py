"""What has to be in a guest before its entries run: call scripts and files, found in the log's resources and objects."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vmr.dialect import Dialect
from vmr.errors import AgentDisconnectedError, AgentError
from vmr.eventlog import EventLog
from vmr.events import Recorded, ResourceRemoved, ResourceUploaded
from vmr.guest import FileIn, Guest
from vmr.host_guest import HostGuest
from vmr.schedule import EntryFile, ObjectRef, is_absolute
from vmr.vm_state import EntryState

_IN_MEMORY = 65_536


class Resources:
    """The files of the resource store as the log names them, with one copy of each content on this host for all its VMs."""

    def __init__(self, log: EventLog, folder: Path) -> None:
        """Keep the copies in ``folder``, one file per content, named by its SHA-256."""
        self._log = log
        self._folder = folder
        self._by_name: dict[str, ObjectRef] = {}
        self._fetches: dict[str, asyncio.Task[bytes | Path]] = {}

    def apply(self, recorded: Recorded) -> None:
        """Fold one event of the resource store."""
        match recorded.event.body:
            case ResourceUploaded(name=name, object=ref):
                self._by_name[name] = ref
            case ResourceRemoved(name=name):
                self._by_name.pop(name, None)
            case _:
                pass

    async def content(self, file: EntryFile) -> bytes | Path:
        """Return what is in ``file``: its bytes when small, else the path of a copy on this host.

        Raises `FileNotFoundError` when the resource store has no such file, `vmr.errors.DataError` when its content is damaged.
        """
        if file.content is not None:
            return file.content.encode()
        ref = file.object
        if ref is None:
            ref = self._by_name.get(file.resource or "")
        if ref is None:
            raise FileNotFoundError(
                f"the resource store has no file {file.resource!r}: add it, then publish the schedule again"
            )
        fetch = self._fetches.get(ref.sha256)
        if fetch is None or (fetch.done() and (fetch.cancelled() or fetch.exception() is not None)):
            fetch = self._fetches[ref.sha256] = asyncio.create_task(self._fetch(ref))
        return await asyncio.shield(fetch)  # many VMs wait for one fetch; one that gives up must not end it

    async def _fetch(self, ref: ObjectRef) -> bytes | Path:
        if ref.size <= _IN_MEMORY:
            return await self._log.get_object(ref)
        path = self._folder / ref.sha256
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            await self._log.fetch_object(ref, path)
        return path


async def load(guest: Guest, resources: Resources, entries: list[EntryState]) -> dict[str, str]:
    """Put the call scripts and files of ``entries`` into the guest; return why, by entry id, for each that lacks something."""
    failed: dict[str, str] = {}
    files: list[FileIn] = []
    owners: dict[str, str] = {}
    for state in entries:
        try:
            wanted = await _files_of(state, resources, guest.dialect)
        except FileNotFoundError as error:
            failed[state.entry.id] = str(error)
            continue
        for file in wanted:
            owners.setdefault(file.target, state.entry.id)
        files += wanted
    for target, reason in (await guest.install(files)).items():
        failed.setdefault(owners[target], f"{target}: {reason}")
    return failed


async def load_on_host(host: HostGuest, resources: Resources, state: EntryState) -> str:
    """Put an entry that runs on this host in place; return why that cannot be done, or nothing."""
    try:
        files = {file.location: await resources.content(file) for file in state.entry.files}
        await asyncio.to_thread(host.prepare, host.directory(state.path), state.entry, files)
    except AgentDisconnectedError:
        raise
    except (OSError, AgentError) as error:
        return str(error)
    return ""


async def _files_of(state: EntryState, resources: Resources, dialect: Dialect) -> list[FileIn]:
    directory = dialect.working_directory(state.path)
    # What lies in the entry's own directory before it has run is from an entry that this one has replaced.
    fresh = len(state.attempts) <= 1
    files = []
    if state.entry.executable is not None:
        script = dialect.call_script(state.entry).encode()
        files.append(FileIn(dialect.call_script_path(directory), script, overwrite=fresh))
    for file in state.entry.files:
        source = dialect.content(file.content) if file.content is not None else await resources.content(file)
        files.append(
            FileIn(
                dialect.target_path(file.location, directory),
                source,
                file.executable,
                state.entry.overwrite or (fresh and not is_absolute(file.location)),
            )
        )
    return files
