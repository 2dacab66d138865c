"""nats-py's client, with a short way for the messages of a feed and for answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nats.aio.client import Client

Take = Callable[[bytes, bytes, bytes, bytes | None], object]
"""Is given a message: its subject, the subject to reply to, its content, and its block of headers."""

Answer = Callable[[bytes, bytes], object]
"""Is given an answer without headers: the subject that it came to, and its content."""

_STORED_MESSAGE: Final = b"$JS.ACK."


class HistoryClient(Client):
    """A client that hands messages of a stream to a feed, and answers to whoever asked, as they are read from the socket.

    On nats-py's usual way each has its headers (an event has up to seven, for the server) read character by character, becomes an
    object, waits in a queue and wakes a task: two thirds of the time that reading history takes, and a turn of the loop for an
    answer. The usual way stays open: where nats-py does not call `_process_msg` any more, messages arrive at the subscription's
    callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Take] = {}
        self._askers: dict[int, Answer] = {}

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
