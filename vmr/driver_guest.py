"""A guest whose engine has a driver of its own: what `vmr.guest.Guest` does, over an `AbstractDriver`.

A driver is synchronous, so that its calls run one after the other in a thread; its word about text is not trusted with
bytes: output and listings are copied as files. A driver's own errors become those that a handler knows: what is an
`OSError` is a guest that is away, anything else is a guest that does not do what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from vmr import spool
from vmr.abstract_driver import AbstractDriver
from vmr.agent_messages import ExecStatus
from vmr.call_thread import CallThread
from vmr.clock import Clock
from vmr.drivers import find_driver
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, GuestError
from vmr.guest import REBOOT_SECONDS, Guest, LaunchStatus
from vmr.spool import Command
from vmr.vm_state import VmState

_T = TypeVar("_T")
MakeDriver = Callable[[], AbstractDriver]

_CALL_SECONDS: Final = 120.0
_FILE_SECONDS: Final = 3600.0
"""Bounds of one call of a driver; a driver that exceeds them is given up, and another one is made."""

_CLOSE_SECONDS: Final = 5.0
_LONGEST_PAUSE: Final = 1.0
_PIECE: Final = """\
[ -e "$1" ] || exit 9
umask 077
tail -c "+$(($2 + 1))" -- "$1" | head -c "$3" > "$4" && wc -c < "$4"
"""
_ABSENT: Final = 9
_SOME_FAILED: Final = 1
"""What `find` exits with when a file went away while it looked."""

_INTO: Final = 'umask 077; into=$1; shift; exec "$@" > "$into"'


class DriverGuest(Guest):
    """One guest, over the driver that ``make`` makes. Methods raise what those of `vmr.guest.Guest` raise."""

    def __init__(self, make: MakeDriver, path: Path, name: str, clock: Clock) -> None:
        """Prepare, without making the driver; ``path`` is where the agent is, ``name`` what messages call the guest."""
        super().__init__(path, name, clock)
        self._make = make
        self._name = name
        self._calls = CallThread(f"vmr driver {name}")
        self._driver: AbstractDriver | None = None
        self._turn = asyncio.Lock()

    async def connect(self, timeout: float) -> None:
        """Make the driver, unless there is one that answers, and connect it, within ``timeout`` seconds."""
        deadline = self._clock.monotonic() + timeout
        pause = 0.01
        while True:
            try:
                await self._connect_once(max(deadline - self._clock.monotonic(), 0.1))
            except (AgentDisconnectedError, AgentTimeoutError):
                if self._clock.monotonic() >= deadline:
                    raise
            else:
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def close(self) -> None:
        """Let the driver go."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await self._discard(driver)
        self._calls.stop()

    async def launch_status(self, pid: int) -> LaunchStatus:
        """Return how the launch ``pid`` stands; one that ended is to be looked up in the guest, byte for byte."""
        try:
            status = await self._status(pid)
        except AgentError:
            return "unknown"
        if not status.exited:
            return "running"
        reply = spool.parse_launch(status.stdout, status.stderr)
        return reply if reply.outcome == "refused" else spool.LaunchReply("again")

    async def read(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a file from ``offset``; none when it does not exist (yet)."""
        piece = f"{spool.INCOMING}/piece"
        command = Command(spool.SHELL, ("-c", _PIECE, "vmr-piece", path, str(offset), str(limit), piece))
        async with self._turn:
            status = await self._run(command)
            if status.exit_code not in {0, _ABSENT}:
                raise GuestError(f"{path}: a piece of it cannot be copied in the guest; is its disk full?")
            there = status.exit_code == 0 and status.stdout.strip() != b"0"
            return await self._content(piece) if there else b""

    async def tail(self, path: str, offset: int, limit: int) -> bytes:
        """Return up to ``limit`` bytes of a growing file from ``offset``; drivers keep no files open."""
        return await self.read(path, offset, limit)

    async def end_tail(self, path: str) -> None:
        """Do nothing: see `tail`."""

    async def list_files(self, pattern: str) -> list[spool.GuestFile]:
        """Return the files at ``pattern``: a path, a folder with all that is in it, or shell wildcards."""
        listing = f"{spool.INCOMING}/listing"
        inner = spool.list_files(pattern)
        command = Command(spool.SHELL, ("-c", _INTO, "vmr-into", listing, inner.path, *inner.arguments))
        async with self._turn:
            status = await self._run(command)
            if status.exit_code not in {0, _SOME_FAILED}:
                raise GuestError(f"{pattern}: the files cannot be listed in the guest; is its disk full?")
            return spool.parse_list(await self._content(listing))

    async def fetch(self, path: str, target: Path) -> tuple[int, str]:
        """Copy a file of the guest to ``target``; return its size in bytes and its SHA-256."""
        if not await self._call(self._connected().read_file, path, PurePosixPath(target), timeout=_FILE_SECONDS):
            raise AgentError("read_file", self._engine, f"{path} cannot be read")
        return await asyncio.to_thread(_measure, target)

    async def reboot(self, run: str, boot: str) -> str:
        """Reboot the guest, whose boot is ``boot``; return the next boot's identity once its agent answers again."""
        deadline = self._clock.monotonic() + REBOOT_SECONDS
        await self._call(self._connected().reboot)
        while True:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise AgentTimeoutError(f"the guest was told to reboot and is not back after {REBOOT_SECONDS:g} s")
            try:
                await self.connect(left)
                now = await self.begin(run)
            except (AgentDisconnectedError, AgentTimeoutError):
                now = boot
            if now != boot:
                return now
            await self._clock.sleep(0.1)

    async def _connect_once(self, timeout: float) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            if await self._answers(driver, timeout):
                self._driver = driver
                return
            await self._discard(driver)
        driver = await self._call(self._make)
        try:
            await self._call(driver.connect, timeout=timeout)
        except GuestError:
            await self._discard(driver)
            raise
        self._driver = driver

    async def _answers(self, driver: AbstractDriver, timeout: float) -> bool:
        try:
            return await self._call(driver.ping, timeout=timeout)
        except GuestError:
            return False

    async def _discard(self, driver: AbstractDriver) -> None:
        """Close a driver, as far as it lets itself be closed."""
        try:
            await self._call(driver.close, timeout=_CLOSE_SECONDS)
        except GuestError as error:
            driver.log.warning("a driver does not close: %s", error)

    async def _upload(self, path: str, source: bytes | Path) -> None:
        with _as_file(source) as local:
            written = await self._call(self._connected().write_from_file, path, str(local), timeout=_FILE_SECONDS)
        if not written:
            raise AgentError("write_from_file", self._engine, f"{path} cannot be written")

    async def _exists(self, path: str) -> bool:
        return bool(await self._call(self._connected().file_exists, path))

    async def _content(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="vmr-") as folder:
            local = Path(folder) / "content"
            await self.fetch(path, local)
            return await asyncio.to_thread(local.read_bytes)

    async def _execute(self, command: Command) -> int:
        pid = await self._call(self._connected().execute, command.path, list(command.arguments))
        if pid is None:
            raise AgentError("execute", self._engine, f"{command.path} could not be started")
        return pid

    async def _status(self, pid: int) -> ExecStatus:
        return _typed(await self._call(self._connected().exec_status, pid))

    @property
    def _engine(self) -> str:
        return self._connected().get_engine()

    def _connected(self) -> AbstractDriver:
        if self._driver is None:
            raise AgentDisconnectedError(f"guest {self._name}: its driver is not connected")
        return self._driver

    async def _call(self, work: Callable[..., _T], *arguments: Any, timeout: float = _CALL_SECONDS) -> _T:
        """Return what a call of the driver returns; when it exceeds its bound, thread and driver are left to it."""
        what = f"guest {self._name}: {getattr(work, '__name__', 'making')} of its driver"
        try:
            async with asyncio.timeout(timeout) as bound:
                return await self._calls.call(work, *arguments)
        except GuestError:
            raise
        except TimeoutError as error:
            if bound.expired():
                self._calls.stop()
                self._driver = None
            raise AgentTimeoutError(f"{what}: {str(error) or f'no end after {timeout:g} s'}") from error
        except OSError as error:
            raise AgentDisconnectedError(f"{what}: {error}") from error
        except Exception as error:
            raise GuestError(f"{what}: {type(error).__name__}: {error}") from error


def driver_guest(vm: VmState, clock: Clock) -> DriverGuest:
    """Return the guest of a VM, over the driver for its engine, which is looked for when the guest is first connected.

    That raises `GuestError` then, naming the engines that there are drivers for, when there is none.
    """
    agent = vm.agent
    assert agent is not None
    config = {"path": agent.path, "engine": agent.engine, "vm_name": vm.name, "vm_uuid": vm.uuid}
    return DriverGuest(lambda: make_driver(config), Path(agent.path), vm.name, clock)


def make_driver(config: Mapping[str, Any]) -> AbstractDriver:
    """Return the driver for the VM that ``config`` describes (``engine``, ``path``, ``vm_name``), not connected."""
    log = logging.getLogger(f"vmr.driver.{config['engine']}")
    return find_driver(config["engine"])(config, log)


def _typed(status: Mapping[str, Any]) -> ExecStatus:
    code = status.get("exitcode")
    return ExecStatus(
        exited=bool(status.get("exited")),
        exit_code=None if code is None else int(code),
        stdout=_bytes(status.get("stdout")),
        stderr=_bytes(status.get("stderr")),
    )


def _bytes(text: str | bytes | None) -> bytes:
    if text is None:
        return b""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


@contextmanager
def _as_file(source: bytes | Path) -> Iterator[Path]:
    if isinstance(source, Path):
        yield source
        return
    with tempfile.NamedTemporaryFile(prefix="vmr-") as file:
        file.write(source)
        file.flush()
        yield Path(file.name)
