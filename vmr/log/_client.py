"""nats-py's client, with a short way for the messages of a feed and for answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from nats.aio.client import Client
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, CRLF_SIZE, Parser

Take = Callable[[bytes, bytes, bytes, bytes | None], object]
"""Is given a message: its subject, the subject to reply to, its content, and its block of headers."""

Answer = Callable[[bytes, bytes], object]
"""Is given an answer without headers: the subject that it came to, and its content."""

_STORED_MESSAGE: Final = b"$JS.ACK."
_STORED_LINE: Final = re.compile(rb"HMSG (\S+) (\d+) (\$JS\.ACK\.\S+) (\d+) (\d+)\r\n")


class HistoryClient(Client):
    """A client that hands messages of a stream to a feed, and answers to whoever asked, as they are read from the socket.

    On nats-py's usual way each has its headers (an event has up to seven, for the server) read character by character, becomes an
    object, waits in a queue and wakes a task: two thirds of the time that reading history takes, and a turn of the loop for an
    answer. The usual way stays open: where nats-py does not call `_process_msg` or a parser any more, messages arrive at the
    subscription's callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Take] = {}
        self._askers: dict[int, Answer] = {}
        self._ps = HistoryParser(self, self._takers)

    def hand_over(self, subscription: Any, take: Take) -> None:
        """From now on give messages of a stream that arrive for ``subscription`` to ``take``; other messages go to its callback."""
        self._takers[subscription._id] = take  # noqa: SLF001 - nats-py has no public name for it

    def hand_answers_over(self, subscription: Any, answer: Answer) -> None:
        """From now on give what arrives for ``subscription`` without headers to ``answer``; messages with headers go to its callback."""
        self._askers[subscription._id] = answer  # noqa: SLF001

    def forget(self, subscription: Any) -> None:
        """Give nothing more of ``subscription`` to anybody."""
        self._takers.pop(subscription._id, None)  # noqa: SLF001

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        take = self._takers.get(sid)
        if take is not None and reply.startswith(_STORED_MESSAGE):
            take(subject, reply, data, headers)
            return
        answer = self._askers.get(sid)
        if answer is not None and not headers:
            answer(subject, data)
            return
        await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]


class HistoryParser(Parser):
    """A parser that gives whole messages of a stream to ``takers``, by subscription, where they lie in what was read from the socket.

    The rest is nats-py's: what is no such message, and the one that what was read ends in the middle of.
    """

    def __init__(self, client: Client, takers: dict[int, Take]) -> None:
        super().__init__(client)
        self._takers = takers

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_MSG_PAYLOAD:
            missing = self.needed + CRLF_SIZE - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:  # the begin of a line
                data, self.buf = bytes(self.buf) + data, bytearray()
            data = data[self._take(data) :]
        if data:
            await super().parse(data)

    def _take(self, data: bytes) -> int:
        """Hand over the messages that ``data`` begins with; return where the first begins that is another, or not whole."""
        begin = 0
        while (line := _STORED_LINE.match(data, begin)) is not None:
            subject, subscription, reply, header_size, size = line.groups()
            take = self._takers.get(int(subscription))
            header = line.end()
            end = header + int(size)
            if take is None or end + CRLF_SIZE > len(data):
                break
            content = header + int(header_size)
            take(subject, reply, data[content:end], data[header:content])
            begin = end + CRLF_SIZE
        return begin
