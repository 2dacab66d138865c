"""The QEMU guest agent's protocol without any I/O: bytes to send, bytes received, one command at a time.

The agent's stream has no connection of its own in a virtual machine: what an earlier client left half-sent or unread
meets the next one. So a `Session` trusts nothing before it has synchronized: it sends a 0xFF byte and
``guest-sync-delimited`` with a random number, and drops everything until that number comes back. It does so at the
start and after every time-out, cancelled command and parse error, as the agent's reference demands
(https://qemu.org/docs/master/interop/qemu-ga-ref.html, ``guest-sync-delimited``).

What a guest sends is hostile: any bytes, any size, any type. Nothing here keeps more than the limit of the command in
flight, and everything wrong is a `vmr.errors.GuestError`.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, TypeVar

import msgspec

from vmr.errors import AgentError, GuestError, InvalidInputError

SMALL_REPLY: Final = 4 << 20
"""Largest reply, in bytes, to a command that carries no file and no output (``guest-info`` has 5 KB)."""

Result = TypeVar("Result")


class _Failure(msgspec.Struct):
    error_class: str = msgspec.field(name="class", default="GenericError")
    desc: str = ""


class _Reply(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="return", default=msgspec.UNSET)
    error: _Failure | None = None
    id: Any = None


class _Request(msgspec.Struct, omit_defaults=True):
    execute: str
    id: str | None = None
    arguments: Any = None


_decode_reply = msgspec.json.Decoder(_Reply).decode
_encode_request = msgspec.json.Encoder().encode


class Lines:
    """Cuts a stream of bytes into lines; a 0xFF byte throws away what its line held before it."""

    __slots__ = ("_buffer", "overflowed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.overflowed = False

    def feed(self, data: bytes, limit: int) -> list[bytes | None]:
        """Return the lines that ``data`` completes; None for one of more than ``limit`` bytes, which is not kept."""
        whole = data.find(b"\n") == len(data) - 1 and len(data) <= limit
        if whole and data and not self.pending and b"\xff" not in data:
            return [data[:-1]]
        if b"\n" not in data:  # a part of a long line: nothing to cut, and nothing to copy twice
            self._append(data, limit)
            return []
        *ends, rest = data.split(b"\n")
        lines: list[bytes | None] = []
        for piece in ends:
            self._append(piece, limit)
            lines.append(None if self.overflowed else bytes(self._buffer))
            self.clear()
        self._append(rest, limit)
        return lines

    @property
    def pending(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._buffer) or self.overflowed

    def clear(self) -> None:
        """Forget the line that has begun."""
        self._buffer, self.overflowed = bytearray(), False

    def _append(self, piece: bytes, limit: int) -> None:
        delimiter = piece.rfind(b"\xff")
        if delimiter >= 0:
            self.clear()
            piece = piece[delimiter + 1 :]
        if len(self._buffer) + len(piece) > limit:
            self.clear()
            self.overflowed = True
        if not self.overflowed:
            self._buffer += piece


class Session:
    """The client's side of one stream: at most one command in flight, synchronized before it.

    ``begin_sync`` and ``begin`` return the bytes to send; ``receive`` takes the bytes that came and returns whether the
    command in flight is over; ``take`` then returns its reply or raises its error. ``abandon`` gives the command in
    flight up.
    """

    __slots__ = ("_command", "_expected", "_failure", "_limit", "_lines", "_number", "_prefix", "_reply", "synced")

    def __init__(self) -> None:
        self.synced = False
        self._lines = Lines()
        # Unique over all clients and all time: the reply to an earlier client's command must never be taken for ours.
        self._prefix = secrets.token_hex(8)
        self._number = 0
        self._command = ""
        self._expected: int | str | None = None
        self._limit = SMALL_REPLY
        self._reply: msgspec.Raw | None = None
        self._failure: GuestError | None = None

    def begin_sync(self) -> bytes:
        """Return the bytes that ask the agent to synchronize; replies to everything sent before are dropped."""
        token = secrets.randbits(52)  # every JSON reader keeps 53 bits exactly
        self.synced = False
        self._begin("guest-sync-delimited", token, SMALL_REPLY)
        request = _Request("guest-sync-delimited", arguments={"id": token})
        return b"\xff" + _encode_request(request) + b"\n"

    def begin(self, command: str, arguments: Any = None, limit: int = SMALL_REPLY) -> bytes:
        """Return the bytes of a request whose reply may have ``limit`` bytes.

        Raises `InvalidInputError` when the arguments cannot be sent as JSON.
        """
        assert self.synced, "a command must not be sent on a stream that is not synchronized"
        identity = f"{self._prefix}-{self._number}"
        try:
            request = _encode_request(_Request(command, identity, arguments)) + b"\n"
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidInputError(f"{command}: the arguments cannot be sent to a guest agent: {error}") from error
        self._number += 1
        self._begin(command, identity, limit)
        return request

    def _begin(self, command: str, expected: int | str, limit: int) -> None:
        self._command, self._expected, self._limit = command, expected, limit
        self._reply = self._failure = None
        self._lines.clear()

    def abandon(self) -> None:
        """Give up the command in flight; its reply may still come, so that the stream must be synchronized again."""
        self._expected = None
        self.synced = False

    def receive(self, data: bytes) -> bool:
        """Take bytes of the stream; return whether the command in flight is over (`take` has its result)."""
        if self._idle():
            self.synced = False  # nobody asked: what else the stream holds is unknown
            return False
        for line in self._lines.feed(data, self._limit):
            if self._idle():
                self.synced = False
            elif line is None:
                self._overflow()
            elif line:
                self._on_line(line)
        if self._idle():
            self.synced = self.synced and not self._lines.pending
        elif self._lines.overflowed:
            self._overflow()
        return self._idle()

    def _overflow(self) -> None:
        if self.synced:  # while synchronizing, it is an earlier command's reply
            self._fail(GuestError(f"{self._command}: the agent sent more than {self._limit} bytes as one reply"))

    def _idle(self) -> bool:
        return self._expected is None

    def _on_line(self, line: bytes) -> None:
        try:
            reply = _decode_reply(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if self.synced:
                self._fail(GuestError(f"{self._command}: the agent's reply cannot be read: {error}"))
            return
        if isinstance(self._expected, int):
            self._on_sync_reply(reply, self._expected)
        elif reply.id == self._expected:
            self._finish(reply)
        elif reply.id is None and reply.error is not None:
            # Without an id it answers bytes that the agent could not parse, and those can only be ours.
            self._fail(AgentError(self._command, reply.error.error_class, reply.error.desc))

    def _on_sync_reply(self, reply: _Reply, token: int) -> None:
        if reply.result is not msgspec.UNSET and bytes(reply.result) == b"%d" % token:
            self.synced = True
            self._finish(reply)

    def _finish(self, reply: _Reply) -> None:
        self._expected = None
        if reply.error is not None:
            self._failure = AgentError(self._command, reply.error.error_class, reply.error.desc)
        elif reply.result is msgspec.UNSET:
            self._fail(GuestError(f"{self._command}: the agent's reply has neither a result nor an error"))
        else:
            self._reply = reply.result

    def _fail(self, failure: GuestError) -> None:
        self._failure = failure
        self.abandon()

    def take(self) -> msgspec.Raw:
        """Return the reply of the command that is over, or raise its `GuestError`."""
        reply, failure = self._reply, self._failure
        self._reply = self._failure = None
        if failure is not None:
            raise failure
        assert reply is not None, "no command is over"
        return reply


def decode(command: str, reply: msgspec.Raw, kind: type[Result]) -> Result:
    """Return ``reply`` as ``kind``; raise `GuestError` when the agent sent something else."""
    try:
        return msgspec.json.decode(reply, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise GuestError(f"{command}: the agent's reply is not of the form of the protocol: {error}") from error
