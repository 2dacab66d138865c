"""The commands of the stock QEMU guest agent, from asyncio: one `GuestAgent` for one guest.

Nothing is retried here: ``guest-exec`` and ``guest-file-write`` are not idempotent, and after an `AgentTimeoutError`
only the caller can know whether a second try does harm. After any such error the next command synchronizes first, so
that it never meets a reply that is not its own.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

from vmr.agent_connection import TIMEOUT
from vmr.agent_files import SLOWEST, AgentFiles, reply_size
from vmr.agent_messages import MAX_CAPTURE, AgentInfo, ExecStatus, NetworkInterface, OsInfo, Started
from vmr.clock import Clock, SystemClock
from vmr.errors import AgentDisconnectedError, AgentTimeoutError

_REFUSAL: Final = 0.3
"""Seconds within which an agent says that it will not shut down."""


class GuestAgent(AgentFiles):
    """A client of one guest's agent.

    Every method may raise `AgentError` (the agent refuses), `AgentTimeoutError`, `AgentDisconnectedError` (also before
    `connect`) and `GuestError` (the reply is not of the protocol). Time-outs are in seconds and grow by themselves with
    the size of what is moved. Methods may be called from many tasks of one event loop; their commands take turns.
    """

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def wait_until_answers(self, timeout: float, clock: Clock | None = None) -> None:
        """Connect as soon as the agent answers, within ``timeout`` seconds of ``clock``: during a boot, after a reboot.

        Raises the last try's `AgentTimeoutError` or `AgentDisconnectedError` when that time is over.
        """
        clock = clock or SystemClock()
        start = clock.monotonic()
        while True:
            elapsed = clock.monotonic() - start
            attempt = min(5.0, max(0.25, elapsed / 2), max(timeout - elapsed, 0.01))
            try:
                await self.connect(attempt)
            except (AgentTimeoutError, AgentDisconnectedError) as error:
                if clock.monotonic() - start >= timeout:
                    error.add_note(f"waited {timeout:g} s for an answer")
                    raise
            else:
                return
            if not self.connected:
                await clock.sleep(min(0.25, 0.005 + elapsed / 20))

    async def call(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT, kind: Any = Any
    ) -> Any:
        """Run any command of the agent and return its result, decoded as ``kind`` (a type that msgspec knows)."""
        return await self.request(command, arguments, kind, timeout)

    async def ping(self, timeout: float = TIMEOUT) -> None:
        """Return when the agent has answered."""
        await self.exchange("guest-ping", None, timeout)

    async def info(self) -> AgentInfo:
        """Return the agent's version and commands."""
        return await self.request("guest-info", None, AgentInfo, TIMEOUT)

    async def osinfo(self) -> OsInfo:
        """Return what the guest says of its operating system."""
        return await self.request("guest-get-osinfo", None, OsInfo, TIMEOUT)

    async def network_get_interfaces(self) -> list[NetworkInterface]:
        """Return the guest's network interfaces with their addresses."""
        return await self.request("guest-network-get-interfaces", None, list[NetworkInterface], TIMEOUT)

    async def get_time(self) -> int:
        """Return the guest's wall-clock time, in nanoseconds since 1970 (UTC)."""
        return await self.request("guest-get-time", None, int, TIMEOUT)

    async def set_time(self, nanoseconds: int | None = None) -> None:
        """Set the guest's wall clock: nanoseconds since 1970 (UTC), or None for the time of its hardware clock."""
        arguments = {} if nanoseconds is None else {"time": nanoseconds}
        await self.exchange("guest-set-time", arguments, TIMEOUT)

    async def set_user_password(self, username: str, password: str, *, crypted: bool = False) -> None:
        """Set a user's password; ``crypted`` says that it is already in the form of the guest's password file."""
        coded = base64.b64encode(password.encode()).decode()
        arguments = {"username": username, "password": coded, "crypted": crypted}
        await self.exchange("guest-set-user-password", arguments, TIMEOUT)

    async def shutdown(self, mode: Literal["reboot", "powerdown", "halt"] = "powerdown") -> None:
        """Have the guest shut down; return when the socket closes, or when no refusal has come in 0.3 s.

        The guest is still going down by then: `wait_until_answers` finds it rebooted.
        """
        await self.tell("guest-shutdown", {"mode": mode}, _REFUSAL)

    async def exec(
        self,
        path: str,
        args: Sequence[str] = (),
        env: Sequence[str] | None = None,
        input: bytes | None = None,  # noqa: A002 - the word of subprocess and of the agent
        *,
        capture: bool = True,
        timeout: float = TIMEOUT,
    ) -> int:
        """Start a program and return its process id, without waiting for it.

        ``env`` holds ``NAME=value`` strings and replaces the agent's environment; None keeps it. ``input`` is its
        standard input. ``capture`` keeps up to 16 MiB each of standard output and error for `exec_status`. After an
        `AgentTimeoutError` the program may run.
        """
        arguments: dict[str, Any] = {"path": path, "arg": list(args), "capture-output": capture}
        if env is not None:
            arguments["env"] = list(env)
        if input is not None:
            arguments["input-data"] = input
        size = 0 if input is None else len(input)
        return (await self.request("guest-exec", arguments, Started, timeout + size / SLOWEST)).pid

    async def exec_status(self, pid: int, timeout: float = 30.0, *, expect: int = MAX_CAPTURE) -> ExecStatus:
        """Return how the program ``pid`` is doing. The agent tells the end of a program once, and then forgets it.

        ``expect`` is how many bytes of each output stream there can be at most; what a guest sends beyond that is not
        kept but a `GuestError`.
        """
        return await self.request("guest-exec-status", {"pid": pid}, ExecStatus, timeout, reply_size(2 * expect))

    async def run(
        self,
        path: str,
        args: Sequence[str] = (),
        input: bytes | None = None,  # noqa: A002
        *,
        env: Sequence[str] | None = None,
        timeout: float = 60.0,
    ) -> ExecStatus:
        """Run a program that ends soon; return its status and output.

        Raises `AgentTimeoutError`, naming its process id, when it still runs after ``timeout`` seconds; it is left
        running.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        pid = await self.exec(path, args, env, input)
        pause = 0.001
        while not (status := await self.exec_status(pid)).exited:
            if loop.time() >= deadline:
                raise AgentTimeoutError(f"guest {self.name}: {path} (pid {pid}) still runs after {timeout:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        return status
