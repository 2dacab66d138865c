"""Programs that a schedule runs on the handler's host: the same spool protocol, on a folder of this host instead of a guest.

The claim, the output and the exit code are files here too, so these programs are adopted and recorded like those in guests. No shell
reads their arguments: they are split into words as a shell would, and each word is passed as it is (name ``sh -c`` to have a shell).
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from pathlib import Path

import msgspec

from vmr import spool
from vmr.clock import Clock
from vmr.dialect import POSIX, Dialect
from vmr.errors import AgentError
from vmr.guest import LaunchStatus
from vmr.schedule import Entry
from vmr.subjects import encode_token


def host_entry(entry: Entry) -> Entry:
    """Return ``entry`` with a command line in which every word stands for itself, whatever the shell would make of it.

    Raises `vmr.errors.AgentError` when its quotes do not match.
    """
    assert entry.executable is not None
    try:
        words = [*shlex.split(entry.executable), *shlex.split(entry.arguments)]
    except ValueError as error:
        raise AgentError("on_host", "InvalidCommand", f"{entry.executable} {entry.arguments}: {error}") from error
    local = {file.location for file in entry.files}
    program = f"./{words[0]}" if words[0] in local and not words[0].startswith("/") else words[0]
    return msgspec.structs.replace(entry, executable=shlex.quote(program), arguments=shlex.join(words[1:]), files=())


class HostGuest:
    """What `vmr.attempts` needs of a guest, on this host: launching, looking, reading, killing."""

    def __init__(self, folder: Path, vm_name: str, clock: Clock) -> None:
        """Keep the working directories of one VM's entries in ``folder``."""
        self.dialect: Dialect = POSIX
        self._root = folder / encode_token(vm_name)
        self._clock = clock
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    def directory(self, entry_path: str) -> str:
        """Return the working directory of the entry whose place is ``entry_path`` (``<time>/<name>``)."""
        return str(self._root / entry_path)

    def prepare(self, directory: str, entry: Entry, files: dict[str, bytes | Path]) -> None:
        """Put an entry's call script and its files (by location) in place, unless they are. Raises `OSError` and `AgentError`."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        script = folder / spool.CALL_SCRIPT_NAME
        if not script.exists():
            script.write_text(spool.call_script(host_entry(entry)))
        flags = {file.location: file.executable for file in entry.files}
        for location, source in files.items():
            target = folder / location
            if target.exists() and not entry.overwrite:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                target.write_bytes(source)
            else:
                shutil.copyfile(source, target)
            if flags[location]:
                target.chmod(target.stat().st_mode | 0o111)

    async def launch(self, directory: str, attempt: int) -> int:
        """Run an attempt; return the process id of its call script."""
        command = spool.launch(directory, attempt)
        try:
            process = await asyncio.create_subprocess_exec(
                command.path,
                *command.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise AgentError("on_host", "OSError", str(error)) from error
        self._processes[process.pid] = process
        return process.pid

    async def launch_status(self, pid: int) -> LaunchStatus:
        """Return how the launch ``pid`` stands."""
        process = self._processes.get(pid)
        if process is None:
            return "unknown"
        if process.returncode is None:
            return "running"
        del self._processes[pid]
        stdout, stderr = await process.communicate()
        return spool.parse_launch(stdout, stderr)

    async def kill(self, directory: str, attempt: int) -> None:
        """Kill what an attempt started; its call script records the end."""
        await self._run(spool.kill(directory, attempt))

    async def probe(self, attempts: list[tuple[str, int]]) -> list[spool.Probe]:
        """Return how each attempt (working directory, number) stands."""
        return spool.parse_probe(await self._run(spool.probe(attempts)), len(attempts))

    async def read(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a file from ``offset``; none when it does not exist (yet)."""
        return await asyncio.to_thread(_read, Path(path), offset, limit)

    async def tail(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a growing file from ``offset``."""
        return await self.read(path, offset, limit)

    async def end_tail(self, path: str) -> None:
        """Do nothing: no file is kept open."""

    @staticmethod
    async def _run(command: spool.Command) -> bytes:
        process = await asyncio.create_subprocess_exec(
            command.path,
            *command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return (await process.communicate())[0]


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""
