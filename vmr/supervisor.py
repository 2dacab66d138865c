"""`vmr up`: the embedded server, the projector with the queries, and the SQL service, kept running by one process.

The supervisor waits for its processes to end and starts them again: at once the first time, then after pauses that double. A
process that ends again and again within moments is given up, and so is the supervisor, with the reason. It holds a lock per
database, so a second one refuses; a new one takes over a server that outlived its supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

import msgspec
import psutil
import structlog

from vmr.errors import LogUnavailableError, VmrError
from vmr.server import EmbeddedServer
from vmr.settings import Settings

logger = structlog.get_logger(__name__)

SERVICES: Final = ("projector", "sql")
MOST_FAILURES: Final = 8
ALLOCATION: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
"""Environment of the services, where the operator has not set it: DuckDB plans a statement with thousands of small pieces of memory, and
glibc keeps seven of a size at hand. With more of them a single event is in the read model a tenth sooner; other systems know no such word."""
_STABLE_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 20.0


class AlreadyRunningError(VmrError):
    """A supervisor of this database runs already."""


class Supervised(msgspec.Struct):
    """What a supervisor says of itself in its lock file: its process id and, by name, those of its services."""

    pid: int
    services: dict[str, int] = {}


def lock_file(settings: Settings) -> Path:
    """Return the file that the database's supervisor holds locked, and says in it what it runs."""
    return settings.database_dir / "supervisor.json"


def running(settings: Settings) -> Supervised | None:
    """Return what the database's supervisor runs, or None when there is none on this host."""
    path = lock_file(settings)
    try:
        with path.open() as file:
            if _try_lock(file):
                return None
            return msgspec.json.decode(file.read(), type=Supervised)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def service_command(name: str, settings: Settings) -> list[str]:
    """Return the command line of one service of ``settings``."""
    command = [sys.executable, "-m", "vmr", "--home", str(settings.home), "--db", settings.db]
    if settings.url is not None:
        command += ["--url", settings.url]
    return [*command, "service", name]


def with_parent(command: Sequence[str]) -> list[str]:
    """Return ``command`` so that it gets SIGTERM when the thread that starts it ends (Linux, util-linux); else unchanged."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else list(command)


class Supervisor:
    """Keeps the services of one database running until `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._state = Supervised(os.getpid())

    def stop(self) -> None:
        """Ask `run` to end its services and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Run the services until `stop`. Raises `AlreadyRunningError`, or `LogUnavailableError` when a service cannot be kept up."""
        with self._lock() as file:
            self._file = file
            server = EmbeddedServer(self._settings.server_dir) if self._settings.embedded else None
            try:
                async with asyncio.TaskGroup() as group:
                    if server is not None:
                        await server.start(die_with_parent=True)
                        self._note("server", server.pid)
                        group.create_task(self._keep_server(server))
                    for name in SERVICES:
                        group.create_task(self._keep(name))
            finally:
                if server is not None:
                    await server.stop()

    async def _keep_server(self, server: EmbeddedServer) -> None:
        failures = _Failures("server")
        while not self._stopping.is_set():
            pid = server.pid
            if pid is not None:
                self._note("server", pid)
                await self._until_gone(pid)
            if self._stopping.is_set():
                return
            logger.warning("the server is gone; starting it again")
            await failures.pause(self._stopping)
            await server.start(die_with_parent=True)

    async def _keep(self, name: str) -> None:
        failures = _Failures(name)
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                *with_parent(service_command(name, self._settings)),
                stdin=subprocess.DEVNULL,
                env=ALLOCATION | os.environ,
                start_new_session=True,
            )
            self._note(name, process.pid)
            await self._until_ended(process)
            if self._stopping.is_set():
                return
            logger.warning("service ended; starting it again", service=name, exit_code=process.returncode)
            await failures.pause(self._stopping)

    async def _until_ended(self, process: asyncio.subprocess.Process) -> None:
        """Wait for a service to end; end it when the supervisor is to stop."""
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not ended.done():
                await _end(process, ended)

    async def _until_gone(self, pid: int) -> None:
        """Wait for a process that may be nobody's child here; return early when the supervisor is to stop."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, gone.set)
        waits = {asyncio.create_task(gone.wait()), asyncio.create_task(self._stopping.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            loop.remove_reader(handle)
            os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it only collects a child that has ended, and does not wait

    def _note(self, name: str, pid: int | None) -> None:
        if pid is not None:
            self._state.services[name] = pid
        self._file.seek(0)
        self._file.truncate()
        self._file.write(msgspec.json.encode(self._state).decode())
        self._file.flush()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[TextIO]:
        path = lock_file(self._settings)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("a+") as file:
            if not _try_lock(file):
                raise AlreadyRunningError(
                    f"vmr is up already for database {self._settings.db!r} in {self._settings.home}: see `vmr status`"
                )
            yield file
            file.truncate(0)


class _Failures:
    """Counts how often a service ended soon after its start, and pauses longer each time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times: list[float] = []

    async def pause(self, stopping: asyncio.Event) -> None:
        """Pause before the next start; raise `LogUnavailableError` after `MOST_FAILURES` in a short time."""
        now = asyncio.get_running_loop().time()
        self._times = [at for at in self._times if now - at < _STABLE_SECONDS * MOST_FAILURES] + [now]
        if len(self._times) > MOST_FAILURES:
            raise LogUnavailableError(
                f"{self._name} ended {MOST_FAILURES} times in a short time: see its log, then `vmr up`"
            )
        delay = 0.0 if len(self._times) == 1 else 0.1 * 2.0 ** len(self._times)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), min(delay, 10.0))


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """End a service in order, or by force when it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        done, _ = await asyncio.wait({ended}, timeout=_STOP_SECONDS)
        if done:
            return


def start_detached(settings: Settings) -> Path:
    """Start a supervisor that outlives this process; return its log file. It is not ready yet."""
    log = settings.database_dir / "vmr.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [word for word in service_command("", settings) if word not in {"service", ""}]
    with log.open("ab") as output:
        subprocess.Popen(
            [*command, "up"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return log


def stop_running(settings: Settings, timeout: float = 30.0) -> bool:
    """Stop the database's supervisor and what it runs; return whether there was one. Raises `LogUnavailableError` if it stays."""
    found = running(settings)
    if found is None:
        return False
    try:
        process = psutil.Process(found.pid)
        process.terminate()
        process.wait(timeout)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        raise LogUnavailableError(
            f"vmr (process {found.pid}) does not stop: kill it, then see {lock_file(settings)}"
        ) from None
    return True


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
