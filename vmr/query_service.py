"""Answers named queries over request-reply: a NATS micro service on ``vmrq.<db>.<query>``.

Several projectors of one database share the questions (a queue group); each answers from its own read model, and only when that
has reached the sequence that the question names. Nothing is asked again and again: the projector wakes who waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import duckdb
import nats.errors
import nats.micro
import structlog

from vmr.answers import Readers, Select, Work, read
from vmr.cursor import CursorWatch
from vmr.errors import QueryError
from vmr.log import AsyncLog
from vmr.projections import bind, load_queries
from vmr.projector import collect_garbage_seldom, open_projector, run_projector
from vmr.query import (
    BAD_REQUEST,
    CANCEL,
    NOT_YET,
    PARTS_HEADER,
    PROGRESS_HEADER,
    Question,
    decode_question,
    encode_answer,
)
from vmr.settings import Settings
from vmr.subjects import query_subject

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.micro.request import Request
    from nats.micro.service import Service

QUEUE_GROUP: Final = "projectors"
READ_MODEL: Final = "read_model.duckdb"
SERVICE_VERSION: Final = "1.0.0"
MOST_SECONDS: Final = 120.0
_HEADERS_ROOM: Final = 1024
_CACHED: Final = 16
_LARGEST_CACHED: Final = 4 * 1024 * 1024
_INTERNAL: Final = "500"
_READERS: Final = 2
_LEAST_SIGNS: Final = 0.1

Parts: TypeAlias = list[bytes]
Answerer: TypeAlias = Callable[[str, Question, Work], Awaitable[Parts]]
"""Answers a question by the query's name; what it is told of as work says how far it is."""

log = structlog.get_logger(__name__)


class NotYetError(QueryError):
    """The read model has not reached the sequence that a question names."""


class QueryService:
    """The named queries of one read model, served on one connection.

    Questions are answered side by side; an answer is kept until the next event, so that asking again costs nothing.
    """

    def __init__(self, client: Client, db: str, readers: Readers, watch: CursorWatch) -> None:
        self._client = client
        self._db = db
        self._readers = readers
        self._watch = watch
        self._queries = load_queries()
        self._selects = {name: Select(query.sql) for name, query in self._queries.items()}
        self._generation = 0
        self._kept: OrderedDict[tuple[str, bytes], tuple[int, int, Parts]] = OrderedDict()
        self._endpoints = Endpoints(client)

    async def start(self) -> None:
        """Begin to serve."""
        described = {name: query.description for name, query in self._queries.items()}
        await self._endpoints.start("vmr-queries", self._db, described, self._answer)

    async def stop(self) -> None:
        """Stop serving; questions that are being answered are given up."""
        await self._endpoints.stop()

    async def _answer(self, name: str, question: Question, doing: Work) -> Parts:
        within = await wait_for(self._watch, question)
        params = bind(self._queries[name], question.params)
        key = (name, repr(params).encode())
        generation = self._watch.generation
        if generation != self._generation:
            # Other views have other columns.
            self._generation = generation
            self._selects = {name: Select(query.sql) for name, query in self._queries.items()}
        kept = self._kept.get(key)
        if kept is not None and kept[:2] == (self._watch.cursor, generation):
            return kept[2]
        limit = self._client.max_payload - _HEADERS_ROOM

        select = self._selects[name]

        def work(connection: duckdb.DuckDBPyConnection) -> tuple[int, Parts]:
            answer = read(connection, select, params)
            return answer.sequence, encode_answer(answer, limit)

        sequence, parts = await self._readers.run(work, within=within, work=doing)
        self._keep(key, (sequence, generation, parts))
        return parts

    def _keep(self, key: tuple[str, bytes], answer: tuple[int, int, Parts]) -> None:
        if sum(map(len, answer[2])) > _LARGEST_CACHED:
            return
        self._kept[key] = answer
        self._kept.move_to_end(key)
        if len(self._kept) > _CACHED:
            self._kept.popitem(last=False)


async def wait_for(watch: CursorWatch, question: Question) -> float:
    """Wait until the read model has what ``question`` names, and return how many seconds are left of its deadline.

    Raises `NotYetError` when the deadline passes first.
    """
    within = min(max(question.deadline, 0.0), MOST_SECONDS)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    if question.after is not None and not await watch.reached(question.after, within=within):
        raise NotYetError(
            f"the read model is at sequence {watch.cursor} and did not reach {question.after} within {within:g} s; see `vmr status`"
        )
    return max(within - (loop.time() - begun), 0.001)


class Endpoints:
    """A micro service whose endpoints answer side by side: one slow answer does not hold up the next question.

    Who waits for a long answer is told that it is being worked on, and may give it up.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._service: Service | None = None
        self._cancels: Subscription | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}

    async def start(self, name: str, db: str, queries: dict[str, str], answer: Answerer) -> None:
        """Serve ``queries`` (name to description) of ``db`` with what ``answer`` returns for a name and a question."""
        # Every service hears of what is given up, whichever of the queue group works on it.
        self._cancels = await self._client.subscribe(query_subject(db, CANCEL), cb=self._cancel)
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
            task = asyncio.create_task(_respond(request, query, answer))
            self._tasks[task] = _reply_subject(request)
            task.add_done_callback(self._finished)

        return handle

    async def _cancel(self, message: Msg) -> None:
        given_up = message.data.decode(errors="replace")
        for task in [task for task, reply in self._tasks.items() if reply and reply == given_up]:
            task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a question could not be answered", error=repr(error))

    async def stop(self) -> None:
        """Stop serving; who is being answered is given up."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._service is not None and not self._client.is_closed:
            await self._service.stop()
        if self._cancels is not None and not self._client.is_closed:
            await self._cancels.unsubscribe()
        self._service = self._cancels = None


def _reply_subject(request: Request) -> str:
    # nats-py has no public name for it.
    return request._msg.reply  # noqa: SLF001


async def _respond(request: Request, query: str, answer: Answerer) -> None:
    try:
        question = decode_question(request.data)
        parts = await _answered(request, query, question, answer)
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


async def _answered(request: Request, query: str, question: Question, answer: Answerer) -> Parts:
    """Return the answer; until it is there, give the signs of life that ``question`` asks for."""
    work = Work()
    if question.signs is None:
        return await answer(query, question, work)
    signs = asyncio.create_task(_give_signs(request, max(question.signs, _LEAST_SIGNS), work))
    try:
        return await answer(query, question, work)
    finally:
        signs.cancel()


async def _give_signs(request: Request, seconds: float, work: Work) -> None:
    # A lost connection has its own way of being noticed.
    with contextlib.suppress(nats.errors.Error):
        while True:
            await asyncio.sleep(seconds)
            done = work.progress()
            await request.respond(b"", {PROGRESS_HEADER: "" if done is None else f"{done:.4f}"})


async def _refuse(request: Request, code: str, error: Exception) -> None:
    # A header is one line; DuckDB's messages have several.
    await request.respond_error(code, " | ".join(line.strip() for line in str(error).splitlines() if line.strip()))


async def main(settings: Settings) -> None:
    """Keep the read model of ``settings.db`` up to date and answer the named queries, until cancelled."""
    collect_garbage_seldom()
    async with await AsyncLog.connect(settings, producer="projector") as source:
        projector = await open_projector(source, settings.database_dir / READ_MODEL)
        watch = CursorWatch()
        readers = Readers([projector.reader() for _ in range(_READERS)])
        service = QueryService(source.connection.client, settings.db, readers, watch)
        try:
            await service.start()
            log.info("projector is up", db=settings.db, cursor=projector.cursor)
            await run_projector(source, projector, watch)
        finally:
            await service.stop()
            await readers.close()
            projector.close()
