"""The driver for QEMU's guest agent: the synchronous face of `vmr.agent.GuestAgent`.

Every command is bounded in time, whoever asks; the agent serves one command after the other. The agent's own errors are
handled as the documented interface says: `OSError`, None or False, never a `KeyError`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from vmr.abstract_driver import AbstractDriver
from vmr.agent import GuestAgent
from vmr.agent_files import WRITE_CHUNK
from vmr.agent_messages import ExecStatus
from vmr.drivers._output import OutputCache
from vmr.errors import AgentDisconnectedError, AgentError, AgentTimeoutError, GuestError
from vmr.loop_thread import LoopThread

_T = TypeVar("_T")
_CONNECT_SECONDS: Final = 10.0


class QemuGuestAgentDriver(AbstractDriver):
    """Talks to the guest agent of a QEMU virtual machine through its Unix socket."""

    def __init__(self, config: Mapping[str, Any], log: logging.Logger) -> None:
        """Prepare; ``config`` holds ``path``, the agent's socket, and may hold ``vm_name`` for messages."""
        super().__init__(config, log)
        self.driver: GuestAgent = GuestAgent(Path(config["path"]), str(config.get("vm_name") or ""))
        self._thread = LoopThread(f"vmr agent {self.driver.name}")
        self._output = OutputCache(self)

    @staticmethod
    def get_engine() -> str:
        """Return ``QemuVM``."""
        return "QemuVM"

    # --- the connection ---

    def connect(self) -> int | None:
        """Connect and synchronize; return the random token of the exchange. Learns the guest's operating system.

        Raises `OSError` (`ConnectionError`, `TimeoutError`) when nothing listens or the agent does not answer within 10
        s.
        """
        self._call(self.driver.connect(_CONNECT_SECONDS))
        token = self.sync()
        self.target_os = self.get_os()
        return token

    def close(self) -> None:
        """Close the connection, so that another client can be served; `connect` opens it again."""
        self._call(self.driver.close())
        self._thread.stop()

    def ping(self, timeout: float = 10) -> bool:
        """Return whether the agent answers within ``timeout`` seconds."""
        try:
            self._call(self.driver.ping(timeout))
        except OSError as error:
            self.log.debug("ping: %s", error)
            return False
        return True

    def sync(self, timeout: float = 5) -> int | None:
        """Synchronize with the agent: drop what it still had to say, then have it repeat a random token.

        Returns the token, or None when something else came back. Raises `OSError` (`EnvironmentError`) when the agent
        does not answer within ``timeout`` seconds: it is not alive yet.
        """
        token = secrets.randbits(31)
        try:
            self._thread.run(self.driver.sync(timeout))
            repeated = self._thread.run(self.driver.call("guest-sync", {"id": token}, timeout=timeout))
        except (AgentDisconnectedError, AgentTimeoutError) as error:
            raise OSError(f"the guest agent is not alive yet: {error}") from error
        except GuestError as error:
            self.log.warning("sync: %s", error)
            return None
        return token if repeated == token else None

    # --- programs ---

    def execute(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Start a program; see `AbstractDriver.execute`.

        It is the same as `async_exec`: nothing waits for the program.
        """
        return self.async_exec(path, arg, env, input_data, capture_output)

    def async_exec(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Start a program; return its process id, or None on failure.

        ``arg`` is a list, or one argument as a string that nothing splits. A start that the agent did not answer is not
        repeated: the program may run all the same.
        """
        return self._prep_async_exec(path, arg, env, input_data, capture_output)

    def _prep_async_exec(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Start a program as `async_exec`, and forget what an earlier one of the same process id left."""
        arguments = [arg] if isinstance(arg, str) else list(arg or [])
        data = None if input_data is None else input_data.encode()
        with self.lock:
            try:
                pid = self._call(self.driver.exec(path, arguments, env, data, capture=capture_output))
            except OSError as error:
                self.log.error("%s cannot be started in the guest: %s", path, error)  # noqa: TRY400 - expected
                return None
            self._output.forget(pid)
        return pid

    def exec_status(self, pid: int) -> dict[str, Any]:
        """Return how the program ``pid`` is doing: its entry of ``output_cache``, with all captured so far.

        The end of a program is asked for once and kept. Raises `TimeoutError` when the agent does not answer, `OSError`
        when it does not know the program.
        """
        with self.lock:
            known = self.output_cache.get(pid)
            if known is None or not known["exited"]:
                self.store_captured_output(pid, self._call(self.driver.exec_status(pid)))
            return dict(self.output_cache[pid])

    def store_captured_output(self, pid: int, output: ExecStatus | Mapping[str, Any] | str) -> None:
        """Add to ``output_cache`` what came of the program ``pid``.

        ``output`` is a status of the agent's, a dictionary in the form of the cache whose ``stdout`` and ``stderr`` go
        on where the cached ones end, or just more of standard output.
        """
        with self.lock:
            self._output.store(pid, output)

    # --- files ---

    def _write(self, filename: str, data: str, mode: str = "w") -> bool:
        """Write ``data`` as UTF-8 to a file whose folder exists ("w") or append it ("a"); return whether it was."""
        append = _appends(mode)
        return self._written(filename, self.driver.write_file(filename, data.encode(), append=append))

    def write_from_file(self, filename: str, local_filename: str, mode: str = "w") -> bool:
        """Write this host's file to one in the guest, making its folder first; return whether that succeeded.

        ``mode`` is "w" or "a". Raises `OSError` when this host's file cannot be read.
        """
        append = _appends(mode)
        Path(local_filename).open("rb").close()
        if self.create_directories(str(self._path(filename).parent)) is not True:
            return False
        return self._written(filename, self.driver.write_file(filename, Path(local_filename), append=append))

    def read_file(self, filename: str, local_destination: PurePosixPath, mode: str = "rb") -> bool:
        """Copy a file of the guest to this host, whole or not at all; return whether that succeeded.

        ``mode`` is "r" or "rb". The end of the file is where the agent says it is, in Windows guests as well. Memory
        stays constant. Raises `OSError` when ``local_destination`` cannot be written.
        """
        if mode not in {"r", "rb"}:
            raise ValueError(f"mode {mode!r}: use 'r' or 'rb'")
        target = Path(local_destination)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.vmr-part"[-255:])
        try:
            with part.open("wb") as file:
                self._call(self._copy(filename, file.write))
            part.replace(target)
        except _GuestSideError as error:
            self.log.error("%s cannot be read in the guest: %s", filename, error)  # noqa: TRY400 - expected
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def file_flush(self, handle: int) -> None:
        """Have an open file of the guest handed to its operating system. Raises `OSError` when that fails."""
        self._call(self.driver.file_flush(handle))

    def file_write_content(self, handle: int, content: str) -> bool:
        """Write ``content`` (as UTF-8) to an open file of the guest; return whether all of it was written."""
        return self._written(f"handle {handle}", self._write_all(handle, content.encode()))

    def file_write_from_file(self, handle: int, filename: str) -> bool:
        """Write this host's file to an open file of the guest, in pieces; return whether all of it was written.

        Raises `OSError` when this host's file cannot be read.
        """
        with Path(filename).open("rb") as file:
            while piece := file.read(WRITE_CHUNK):
                if not self._written(f"handle {handle}", self._write_all(handle, piece)):
                    return False
        return True

    # --- the machine ---

    def get_os(self) -> str:
        """Return the guest's operating system, its "pretty" name. Raises `OSError` when the agent does not say."""
        told = self._call(self.driver.osinfo())
        return told.pretty_name or told.name or told.id

    def get_time(self) -> int:
        """Return the guest's time in nanoseconds since 1970 (UTC). Raises `OSError` when the agent does not say."""
        return self._call(self.driver.get_time())

    def set_time(self) -> None:
        """Set the guest's clock to this host's. Raises `OSError` when that fails."""
        self._call(self.driver.set_time(time.time_ns()))

    def set_user_password(self, username: str, password: str) -> None:
        """Set a guest user's password. Raises `OSError` when that fails."""
        self._call(self.driver.set_user_password(username, password))

    def network_get_interfaces(self) -> list[Any]:
        """Return the guest's network interfaces: ``name``, ``ip-addresses``… as the agent names them."""
        return list(self._call(self.driver.call("guest-network-get-interfaces", kind=list[Any])))

    def reboot(self) -> None:
        """Have the guest reboot and forget its programs; return when it is on its way.

        Raises `OSError` when the agent refuses.
        """
        self._call(self.driver.shutdown("reboot"))
        self._reset_cache()

    def _reset_cache(self) -> None:
        with self.lock:
            super()._reset_cache()
            self._output = OutputCache(self)

    async def _copy(self, filename: str, write: Any) -> None:
        chunks = self.driver.read_chunks(filename)
        async with contextlib.aclosing(chunks):  # type: ignore[type-var]
            async for piece in chunks:
                write(piece)

    async def _write_all(self, handle: int, data: bytes) -> int:
        done = 0
        while done < len(data):
            count = await self.driver.file_write(handle, data[done:])
            if count == 0:
                raise GuestError("nothing was written; is the guest's disk full?")
            done += count
        return done

    def _written(self, what: str, work: Coroutine[Any, Any, int]) -> bool:
        try:
            self._call(work)
        except OSError as error:
            self.log.error("%s cannot be written in the guest: %s", what, error)  # noqa: TRY400 - expected
            return False
        return True

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        with _os_errors():
            return self._thread.run(work)


class _GuestSideError(OSError):
    """The guest's part of an operation failed."""


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Turn the agent client's errors that are no `OSError` into one: the documented interface knows no other."""
    try:
        yield
    except (AgentTimeoutError, AgentDisconnectedError):
        raise
    except AgentError as error:
        raise _GuestSideError(str(error)) from error
    except GuestError as error:
        raise OSError(str(error)) from error


def _appends(mode: str) -> bool:
    if mode not in {"w", "a"}:
        raise ValueError(f"mode {mode!r}: use 'w' or 'a'")
    return mode == "a"
