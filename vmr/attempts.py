"""One attempt of one entry, from launch to its last byte of output: launching, watching, recording."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from vmr import spool
from vmr.clock import Clock
from vmr.errors import AgentDisconnectedError, AgentError, DataError
from vmr.events import EntryFailed, EntryFinished, EntryLost, OutputCaptured, StreamName
from vmr.guest import Guest
from vmr.host_guest import HostGuest
from vmr.output import output_events
from vmr.pace import Looks, Watch
from vmr.vm_state import Attempt, EntryState

_TAIL_AFTER: Final = 0.2
_READ: Final = 1 << 20
_RECORDING: Final = 3
"""Parts of one output that are being recorded while the next one is read."""
_CLAIM_LOOKS: Final = 10
_AFTER_KILL: Final = 0.05
_KILLED: Final = 137
_CLOCK_SLACK: Final = 0.5
"""Seconds by which the guest's measure of a duration may differ from the host's."""

Publish = Callable[..., Awaitable[None]]
"""Records events (bodies) and returns when the fold has them."""


class AttemptRunner:
    """Runs one attempt in one guest and records what comes of it."""

    def __init__(
        self,
        uuid: str,
        guest: Guest | HostGuest,
        directory: str,
        clock: Clock,
        publish: Publish,
        state: EntryState,
        watch: Watch | None = None,
    ) -> None:
        """Run the last attempt of ``state`` in ``directory``; its output up to the recorded offsets is known to the log.

        ``watch`` is what the attempts of a handler share.
        """
        attempt = state.attempts[-1]
        self._uuid = uuid
        self._guest = guest
        self._clock = clock
        self._publish = publish
        self._entry = state.entry.id
        watch = watch or Watch()
        self._looks = Looks(clock, watch)
        self._room = watch.room
        self._deadline = _deadline(state.entry.timeout, attempt)
        self._timeout = state.entry.timeout
        self._killed = False
        self._number = attempt.number
        self._directory = directory
        self._offsets: dict[StreamName, int] = {"stdout": attempt.stdout, "stderr": attempt.stderr}

    async def launch(self) -> None:
        """Launch the attempt, or find that it was launched before, and stay with it to its end."""
        try:
            pid = await self._guest.launch(self._directory, self._number)
        except AgentError as error:
            await self._fail(str(error))
            return
        await self._watch(pid)

    async def adopt(self, found: spool.Probe) -> None:
        """Take over an attempt that a handler before this one recorded as started, as ``found`` in the guest."""
        looks = 0
        while found == "claimed" and looks < _CLAIM_LOOKS:
            await self._clock.sleep(0.1)
            found = await self._probe()
            looks += 1
        if found == "absent":
            await self.launch()
        else:
            await self._watch_spool(found)

    async def _watch(self, pid: int) -> None:
        """Follow a launch of this agent's by its process id, which costs the least."""
        with self._looks:
            while True:
                try:
                    status = await self._guest.launch_status(pid)
                except DataError as error:
                    await self._watch_spool(await self._probe(), str(error))
                    return
                if status == "unknown":
                    raise AgentDisconnectedError(f"the guest's agent was started anew and does not know process {pid}")
                if status != "running":
                    await self._close()
                    await self._ended(status)
                    return
                await self._pause(wrote=self._looks.elapsed >= _TAIL_AFTER and await self._tail())

    async def _watch_spool(self, found: spool.Probe, reason: str = "") -> None:
        """Follow an attempt by its files only: it was launched through another connection or another agent process."""
        with self._looks:
            while found == "running":
                await self._pause(wrote=await self._tail())
                found = await self._probe()
                if found == "dead":
                    raise AgentDisconnectedError("an attempt ended without a record: the guest may have gone down")
        await self._close()
        await self._drain("stdout")
        await self._drain("stderr")
        if isinstance(found, spool.Finished):
            await self._finished(found)
        else:
            await self._lost(reason or "the guest went down, or the call script was killed, before the attempt ended")

    async def _pause(self, *, wrote: bool) -> None:
        """Sleep until the next look; when the attempt's time is over, kill it and look again soon."""
        left = math.inf if self._deadline is None else (self._deadline - self._clock.now()).total_seconds()
        if left > 0:
            await self._clock.sleep(min(self._looks.next_pause(wrote=wrote), left))
        else:
            self._killed = True
            await self._guest.kill(self._directory, self._number)
            await self._clock.sleep(_AFTER_KILL)

    async def _ended(self, reply: spool.LaunchReply) -> None:
        if reply.outcome == "again":
            await self._watch_spool(await self._probe())
        elif reply.outcome == "refused":
            await self._fail(f"{self._directory} cannot be written in the guest")
        else:
            await self._take("stdout", reply.stdout)
            await self._take("stderr", reply.stderr)
            await self._finished(reply.outcome)

    async def _take(self, stream: StreamName, head: bytes | None) -> None:
        """Record the rest of a stream whose first bytes may have come with the end of the attempt."""
        if head is None or len(head) >= spool.INLINE_OUTPUT:
            await self._drain(stream)
        else:
            await self._record(stream, head[self._offsets[stream] :], final=True)

    async def _tail(self) -> bool:
        """Record what the attempt has written since the last look; return whether it was anything."""
        return any([await self._record(stream, await self._more(stream), final=False) for stream in self._offsets])

    async def _more(self, stream: StreamName) -> bytes:
        path = self._guest.dialect.attempt_file(self._directory, self._number, stream)
        return await self._guest.tail(path, self._offsets[stream], _READ)

    async def _close(self) -> None:
        for stream in self._offsets:
            await self._guest.end_tail(self._guest.dialect.attempt_file(self._directory, self._number, stream))

    async def _drain(self, stream: StreamName) -> None:
        """Record everything that an ended attempt has written to a stream and the log does not have.

        While parts are being recorded the next ones are read: guest and log are about equally fast, and neither waits for the other.
        """
        path = self._guest.dialect.attempt_file(self._directory, self._number, stream)
        recording: deque[asyncio.Task[None]] = deque()
        more = True
        try:
            while more:
                more, pieces = await self._next_pieces(stream, path)
                recording.append(self._recording(pieces))
                while len(recording) > (_RECORDING if more else 0):
                    await recording.popleft()
        finally:
            for task in recording:
                task.cancel()
            await asyncio.gather(*recording, return_exceptions=True)
        await self._guest.end_tail(path)

    async def _next_pieces(self, stream: StreamName, path: str) -> tuple[bool, list[OutputCaptured]]:
        """Return whether there may be more than the next pieces of a stream, and these; there is room for them until they are recorded."""
        await self._room.acquire()
        try:
            data = await self._guest.read(path, self._offsets[stream], _READ)
        except BaseException:
            self._room.release()
            raise
        more = len(data) == _READ
        pieces = self._pieces(stream, data, final=not more)
        self._offsets[stream] += sum(piece.size for piece in pieces)
        return more, pieces

    def _recording(self, pieces: list[OutputCaptured]) -> asyncio.Task[None]:
        async def record() -> None:
            await self._publish(*pieces)

        task = asyncio.create_task(record())
        task.add_done_callback(lambda _: self._room.release())
        return task

    async def _record(self, stream: StreamName, data: bytes, *, final: bool) -> bool:
        pieces = self._pieces(stream, data, final=final)
        if pieces:
            await self._publish(*pieces)
            self._offsets[stream] += sum(piece.size for piece in pieces)
        return bool(pieces)

    def _pieces(self, stream: StreamName, data: bytes, *, final: bool) -> list[OutputCaptured]:
        return output_events(self._uuid, self._entry, self._number, stream, self._offsets[stream], data, final=final)

    async def _probe(self) -> spool.Probe:
        return (await self._guest.probe([(self._directory, self._number)]))[0]

    async def _finished(self, finished: spool.Finished) -> None:
        await self._publish(
            EntryFinished(
                server_uuid=self._uuid,
                entry=self._entry,
                attempt=self._number,
                exit_code=finished.exit_code,
                reboot=finished.reboot or finished.exit_code == spool.REBOOT_EXIT_CODE,
                duration=finished.duration,
                timed_out=self._timed_out(finished),
                stdout_size=self._offsets["stdout"],
                stderr_size=self._offsets["stderr"],
            )
        )

    def _timed_out(self, finished: spool.Finished) -> bool:
        """Whether the end is that of a kill at the timeout, whichever handler did it."""
        if finished.exit_code != _KILLED or self._timeout is None:
            return False
        return self._killed or finished.duration >= self._timeout - _CLOCK_SLACK

    async def _lost(self, reason: str) -> None:
        await self._publish(
            EntryLost(
                server_uuid=self._uuid,
                entry=self._entry,
                attempt=self._number,
                reason=reason,
                stdout_size=self._offsets["stdout"],
                stderr_size=self._offsets["stderr"],
            )
        )

    async def _fail(self, error: str) -> None:
        await self._publish(EntryFailed(server_uuid=self._uuid, entry=self._entry, attempt=self._number, error=error))


def _deadline(timeout: float | None, attempt: Attempt) -> datetime | None:
    """Return when (UTC) an attempt's time is over, counted from the recorded start, so that every handler agrees."""
    if timeout is None or attempt.started is None:
        return None
    return attempt.started + timedelta(seconds=timeout)
