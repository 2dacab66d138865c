"""A NATS micro service whose endpoints answer questions to a read model, see `vmr.query`.

Questions are answered side by side: one slow answer does not hold up the next. Who waits for a long one is told that it is being worked
on, and may give it up; one for which nobody waits any more, because the asker died, is given up as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import nats.errors
import nats.micro
import structlog

from vmr.answers import Work
from vmr.errors import QueryError
from vmr.query import BAD_REQUEST, CANCEL, NOT_YET, PARTS_HEADER, PROGRESS_HEADER, Question, decode_question
from vmr.subjects import query_subject

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.micro.request import Request
    from nats.micro.service import Service

QUEUE_GROUP: Final = "projectors"
SERVICE_VERSION: Final = "1.0.0"
Parts: TypeAlias = list[bytes]
Answerer: TypeAlias = Callable[[str, Question, Work], Awaitable[Parts]]
"""Answers a question by the query's name; what it is told of as work says how far it is."""

_LEAST_SIGNS: Final = 0.1
_INTERNAL: Final = "500"
_NOBODY: Final = "503"

log = structlog.get_logger(__name__)


class NotYetError(QueryError):
    """The read model has not reached the sequence that a question names."""


class _Pending(msgspec.Struct, frozen=True):
    """A question that is being answered, and where the answer is to go."""

    task: asyncio.Task[None]
    reply: str


class Endpoints:
    """The endpoints of one service, on one connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._service: Service | None = None
        self._subscriptions: list[Subscription] = []
        self._echoes = client.new_inbox()
        self._count = 0
        self._pending: dict[str, _Pending] = {}

    async def start(self, name: str, db: str, queries: dict[str, str], answer: Answerer) -> None:
        """Serve ``queries`` (name to description) of ``db`` with what ``answer`` returns for a name and a question."""
        # Every service hears of what is given up, whichever of the queue group works on it.
        self._subscriptions = [
            await self._client.subscribe(query_subject(db, CANCEL), cb=self._cancel),
            await self._client.subscribe(f"{self._echoes}.*", cb=self._nobody_listens),
        ]
        service = await nats.micro.add_service(
            self._client, name=name, version=SERVICE_VERSION, metadata={"db": db}, queue_group=QUEUE_GROUP
        )
        self._service = service
        for query, description in queries.items():
            await service.add_endpoint(
                name=query,
                subject=query_subject(db, query),
                metadata={"description": description},
                handler=self._handler(query, answer),
            )
        await self._client.flush()

    def _handler(self, query: str, answer: Answerer) -> Callable[[Request], Awaitable[None]]:
        async def handle(request: Request) -> None:
            self._count += 1
            number = str(self._count)
            task = asyncio.create_task(self._respond(request, query, answer, number))
            self._pending[number] = _Pending(task, _reply_subject(request))
            task.add_done_callback(lambda task: self._finished(number, task))

        return handle

    def _finished(self, number: str, task: asyncio.Task[None]) -> None:
        del self._pending[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a question could not be answered", error=repr(error))

    async def _cancel(self, message: Msg) -> None:
        given_up = message.data.decode(errors="replace")
        for one in list(self._pending.values()):
            if one.reply and one.reply == given_up:
                one.task.cancel()

    async def _nobody_listens(self, message: Msg) -> None:
        """Give up the question whose sign of life the server could bring to nobody."""
        one = self._pending.get(message.subject.rpartition(".")[2])
        if one is not None and (message.headers or {}).get("Status") == _NOBODY:
            one.task.cancel()

    async def stop(self) -> None:
        """Stop serving; who is being answered is given up."""
        tasks = [one.task for one in self._pending.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if not self._client.is_closed:
            if self._service is not None:
                await self._service.stop()
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
        self._service, self._subscriptions = None, []

    async def _respond(self, request: Request, query: str, answer: Answerer, number: str) -> None:
        try:
            parts = await self._answered(request, query, answer, number)
            headers = {PARTS_HEADER: str(len(parts))} if len(parts) > 1 else None
            for part in parts:
                await request.respond(part, headers)
        except NotYetError as error:
            await _refuse(request, NOT_YET, error)
        except QueryError as error:
            await _refuse(request, BAD_REQUEST, error)
        except (nats.errors.Error, ValueError) as error:
            log.warning("an answer could not be sent", query=query, error=str(error))
        except Exception as error:
            log.exception("a query failed", query=query)
            await _refuse(request, _INTERNAL, error)

    async def _answered(self, request: Request, query: str, answer: Answerer, number: str) -> Parts:
        """Return the answer; until it is there, give the signs of life that the question asks for."""
        question, work = decode_question(request.data), Work()
        if question.signs is None or not _reply_subject(request):
            return await answer(query, question, work)
        signs = asyncio.create_task(self._give_signs(request, max(question.signs, _LEAST_SIGNS), work, number))
        try:
            return await answer(query, question, work)
        finally:
            signs.cancel()

    async def _give_signs(self, request: Request, seconds: float, work: Work, number: str) -> None:
        # A lost connection has its own way of being noticed.
        with contextlib.suppress(nats.errors.Error):
            while True:
                await asyncio.sleep(seconds)
                done = work.progress()
                headers = {PROGRESS_HEADER: "" if done is None else f"{done:.4f}"}
                # To a reply subject of its own the server says when nobody is there any more.
                await self._client.publish(
                    _reply_subject(request), b"", reply=f"{self._echoes}.{number}", headers=headers
                )


def _reply_subject(request: Request) -> str:
    # nats-py has no public name for it.
    return request._msg.reply  # noqa: SLF001


async def _refuse(request: Request, code: str, error: Exception) -> None:
    # A header is one line; DuckDB's messages have several.
    await request.respond_error(code, " | ".join(line.strip() for line in str(error).splitlines() if line.strip()))
