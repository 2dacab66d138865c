"""What a handler does in one guest, over its agent: the spool protocol's operations, and files in and out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from vmr import spool
from vmr.agent import GuestAgent
from vmr.agent_messages import ExecStatus
from vmr.clock import Clock
from vmr.dialect import POSIX, Dialect, dialect_of
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, DataError, GuestError

REBOOT_SECONDS = 600.0
"""A guest that does not answer so long after it was told to reboot is taken for gone."""

TELL_AGAIN_SECONDS = 60.0
"""A guest that was told to reboot and still answers after so long in the same boot is told again: nothing says that it heard it."""

_OPERATION_SECONDS = 120.0
_PROBED_AT_ONCE = 50
"""Attempts in one probe; a command line of Windows has 8,191 characters at most."""


class FileIn(msgspec.Struct, frozen=True):
    """A file to put into the guest: its bytes, or the file on this host that has them. A target that exists stays, unless ``overwrite``."""

    target: str
    source: bytes | Path
    executable: bool = False
    overwrite: bool = False


LaunchStatus: TypeAlias = spool.LaunchReply | Literal["running", "unknown"]
"""How a launch stands: what it said, still running, or unknown to the agent (which was started anew meanwhile)."""


class Guest:
    """One guest, over its agent. Methods raise the agent client's errors (`vmr.agent.GuestAgent`).

    Attributes:
        dialect: how the spool protocol is spoken in this guest; known once it is connected.

    """

    def __init__(self, path: Path, name: str, clock: Clock) -> None:
        self.dialect: Dialect = POSIX
        self._agent = GuestAgent(path, name)
        self._clock = clock
        self._uploads = 0
        self._open_files: dict[str, tuple[int, int]] = {}
        # What an earlier client uploaded may still be on its way to its place.
        self._token = secrets.token_hex(4)

    async def connect(self, timeout: float) -> None:
        """Connect as soon as the agent answers, within ``timeout`` seconds."""
        self._open_files.clear()
        await self._agent.wait_until_answers(timeout, self._clock)
        try:
            self.dialect = dialect_of(await self._agent.osinfo())
        except AgentError:
            self.dialect = POSIX  # an agent that cannot tell is of before 2.10, or was told not to

    async def close(self) -> None:
        """Let the agent go; another client can connect to it."""
        await self._agent.close()

    async def begin(self, run: str) -> str:
        """Set aside what an earlier run left and return the identity of the guest's boot."""
        for command in self.dialect.preparations():
            await self._run(command)
        status = await self._run(self.dialect.begin(run))
        if status.exit_code != 0:
            raise GuestError(f"{self.dialect.INCOMING} cannot be prepared in the guest: {_first_line(status.stderr)}")
        return self.dialect.parse_begin(status.stdout)

    async def install(self, files: list[FileIn]) -> dict[str, str]:
        """Put ``files`` in place; return why, by target, for each that could not be. A target that exists is left as it is."""
        failed: dict[str, str] = {}
        batch: list[spool.Install] = []
        size = 0
        for file in files:
            item = await self._prepare(file, failed)
            if item is None:
                continue
            weight = len(item.target) + len((item.text or "").encode())
            if batch and size + weight > spool.INSTALL_BYTES:
                await self._install(batch, failed)
                batch, size = [], 0
            batch.append(item)
            size += weight
        if batch:
            await self._install(batch, failed)
        return failed

    async def launch(self, directory: str, attempt: int) -> int:
        """Run an attempt; return the process id of its call script."""
        return await self._execute(self.dialect.launch(directory, attempt))

    async def launch_status(self, pid: int) -> LaunchStatus:
        """Return how the launch ``pid`` stands. Raises `DataError` when it ended without saying what the call script says."""
        try:
            status = await self._status(pid)
        except AgentError:
            return "unknown"
        return self.dialect.parse_launch(status.stdout, status.stderr) if status.exited else "running"

    async def kill(self, directory: str, attempt: int) -> None:
        """Kill what an attempt started; its call script records the end."""
        await self._run(self.dialect.kill(directory, attempt))

    async def probe(self, attempts: list[tuple[str, int]]) -> list[spool.Probe]:
        """Return how each attempt (working directory, number) stands, by what is in the guest."""
        found: list[spool.Probe] = []
        for first in range(0, len(attempts), _PROBED_AT_ONCE):
            part = attempts[first : first + _PROBED_AT_ONCE]
            status = await self._run(self.dialect.probe(part))
            found += self.dialect.parse_probe(status.stdout, len(part))
        return found

    async def read(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a file from ``offset``; none when it does not exist. Keeps the file open: see `end_tail`."""
        try:
            return await self._read_on(path, offset, limit)
        except AgentError as error:
            if error.command != "guest-file-open":
                raise
        return await self._read_snapshot(path, offset, limit, growing=False)

    async def tail(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a growing file from ``offset``; none when it does not exist yet. Keeps the file open."""
        if self.dialect.snapshot(path) is not None:
            return await self._read_snapshot(path, offset, limit, growing=True)
        try:
            return await self._read_on(path, offset, limit)
        except AgentError as error:
            if error.command != "guest-file-open":
                raise
        return b""

    async def _read_on(self, path: str, offset: int, limit: int) -> bytes:
        """Read on where the last call for this file ended: one request each, while opening and closing it each time takes four."""
        with _one_agent():
            known = self._open_files.pop(path, None)
            handle, position = (await self._agent.file_open(path), 0) if known is None else known
            if position != offset:
                await self._agent.file_seek(handle, offset)
            data = (await self._agent.file_read(handle, limit)).data
        self._open_files[path] = (handle, offset + len(data))
        return data

    async def end_tail(self, path: str) -> None:
        """Close a file that `tail` or `read` keeps open, if one does."""
        handle, _ = self._open_files.pop(path, (None, 0))
        if handle is not None:
            with _one_agent():
                await self._agent.file_close(handle)

    async def list_files(self, pattern: str) -> list[spool.GuestFile]:
        """Return the files at ``pattern``: a path, a folder with all that is in it, or shell wildcards."""
        status = await self._run(self.dialect.list_files(pattern))
        return self.dialect.parse_list(status.stdout)

    async def fetch(self, path: str, target: Path) -> tuple[int, str]:
        """Copy a file of the guest to ``target``; return its size in bytes and its SHA-256."""
        digest, size = hashlib.sha256(), 0
        path = await self._readable(path)
        with target.open("wb") as file, _one_agent():
            async for piece in self._agent.read_chunks(path):
                digest.update(piece)
                size += len(piece)
                await asyncio.to_thread(file.write, piece)
        return size, digest.hexdigest()

    async def reboot(self, run: str, boot: str) -> str:
        """Reboot the guest, whose boot is ``boot``, and return the identity of the next boot once its agent answers again.

        Raises `AgentTimeoutError` when it is not back after `REBOOT_SECONDS`.
        """
        deadline = self._clock.monotonic() + REBOOT_SECONDS
        # Whether it heard this, its next boot will tell; when there is none, it is told again below.
        with contextlib.suppress(AgentDisconnectedError, AgentTimeoutError):
            await self._agent.shutdown("reboot")
        told, down = self._clock.monotonic(), False
        while True:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise AgentTimeoutError(f"the guest was told to reboot and is not back after {REBOOT_SECONDS:g} s")
            down = down or not self._agent.connected
            try:
                await self._agent.wait_until_answers(left, self._clock)
                now = await self.begin(run)
                if boot and now == boot and self._clock.monotonic() - told >= TELL_AGAIN_SECONDS:
                    await self._agent.shutdown("reboot")
                    told = self._clock.monotonic()
            except (AgentDisconnectedError, AgentTimeoutError):
                now = boot  # it is going down, or a reply was lost: neither says that it will not come back
            if now != boot or (down and not boot and self._agent.connected):
                return now
            await self._clock.sleep(0.1)

    async def _readable(self, path: str) -> str:
        """Return where a file can be read: at its place, or in a copy of it when somebody writes it and the dialect knows how."""
        snapshot = self.dialect.snapshot(path)
        if snapshot is None or await self._exists(path):
            return path
        command, copy = snapshot
        return copy if (await self._run(command)).exit_code == 0 else path

    async def _read_snapshot(self, path: str, offset: int, limit: int, *, growing: bool) -> bytes:
        """Read a file that cannot be opened while somebody writes it, where the dialect knows how.

        None when it does not exist (yet), or is ``growing`` and cannot be copied now: a later look will have it.
        """
        snapshot = self.dialect.snapshot(path)
        if snapshot is None:
            return b""
        command, copy = snapshot
        status = await self._run(command)
        if status.exit_code == spool.MISSING or (growing and status.exit_code != 0):
            return b""
        if status.exit_code != 0:
            raise GuestError(f"{path} cannot be copied in the guest: {_first_line(status.stderr)}")
        with _one_agent():
            return await self._agent.read_file(copy, offset, limit)

    async def _prepare(self, file: FileIn, failed: dict[str, str]) -> spool.Install | None:
        if reason := self.dialect.unwritable(file.target):
            failed[file.target] = reason
            return None
        try:
            data = file.source if isinstance(file.source, bytes) else await asyncio.to_thread(_small, file.source)
            if data is not None and self.dialect.travels_as_text(data):
                return spool.Install(
                    file.target, text=data.decode(), executable=file.executable, overwrite=file.overwrite
                )
            if not file.overwrite and await self._exists(file.target):
                return None
            self._uploads += 1
            uploaded = self.dialect.incoming_path(f"upload-{self._token}-{self._uploads}")
            await self._upload(uploaded, file.source if data is None else data)
        except (AgentDisconnectedError, AgentTimeoutError):
            raise  # these are OSErrors, and say nothing about the file
        except (AgentError, OSError) as error:
            failed[file.target] = str(error)
            return None
        return spool.Install(file.target, uploaded=uploaded, executable=file.executable, overwrite=file.overwrite)

    async def _execute(self, command: spool.Command) -> int:
        return await self._agent.exec(command.path, command.arguments)

    async def _status(self, pid: int) -> ExecStatus:
        return await self._agent.exec_status(pid)

    async def _upload(self, path: str, source: bytes | Path) -> None:
        with _one_agent():
            await self._agent.write_file(path, source)

    async def _exists(self, path: str) -> bool:
        try:
            async with self._agent.opened(path):
                return True
        except AgentError:
            return False

    async def _install(self, batch: list[spool.Install], failed: dict[str, str]) -> None:
        status = await self._run(self.dialect.install(batch))
        numbers = self.dialect.parse_failed_installs(status.stdout, len(batch))
        if status.exit_code != 0 and not numbers:
            raise DataError(f"installing files ended with {status.exit_code}: {_first_line(status.stderr)}")
        for number in numbers:
            failed[batch[number].target] = _first_line(status.stderr) or "it could not be written"

    async def _run(self, command: spool.Command) -> ExecStatus:
        for path, data in command.uploads:
            await self._upload(path, data)
        pid = await self._execute(command)
        deadline = self._clock.monotonic() + _OPERATION_SECONDS
        pause = 0.001
        while not (status := await self._status(pid)).exited:
            if self._clock.monotonic() > deadline:
                raise AgentTimeoutError(
                    f"{command.arguments[2]} still runs in the guest after {_OPERATION_SECONDS:g} s"
                )
            await self._clock.sleep(pause)
            pause = min(pause * 2, 0.05)
        return status


@contextlib.contextmanager
def _one_agent() -> Iterator[None]:
    """Raise `AgentDisconnectedError` where a handle is unknown to the agent that gave it: another agent has taken its place.

    A virtual machine's socket stays open over that. Nothing that was read or written through the handle is known to be whole.
    """
    try:
        yield
    except AgentError as error:
        if error.command != "guest-file-open" and "has not been found" in error.description:
            raise AgentDisconnectedError(f"the guest's agent was started anew: {error}") from error
        raise


def _small(path: Path) -> bytes | None:
    """Return the file's bytes when they may travel as text, or None when there are too many."""
    with path.open("rb") as file:
        data = file.read(spool.INLINE_TEXT + 1)
    return data if len(data) <= spool.INLINE_TEXT else None


def _first_line(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").splitlines()
    return lines[0][:300] if lines else ""
