"""Answers named queries over request-reply: a NATS micro service on ``vmrq.<db>.<query>``.

Several projectors of one database share the questions (a queue group); each answers from its own read model, and only when that
has reached the sequence that the question names. Nothing is asked again and again: the projector wakes who waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import duckdb
import structlog

from vmr.answers import Readers, Select, Work, read
from vmr.cursor import CursorWatch
from vmr.endpoints import Endpoints, NotYetError, Parts
from vmr.errors import QueryError
from vmr.log import AsyncLog
from vmr.projections import bind, load_queries
from vmr.projector import collect_garbage_seldom, open_projector, run_projector
from vmr.query import Answer, Question, encode_answer
from vmr.settings import Settings

if TYPE_CHECKING:
    from nats.aio.client import Client

READ_MODEL: Final = "read_model.duckdb"
MOST_SECONDS: Final = 120.0
_HEADERS_ROOM: Final = 1024
_CACHED: Final = 16
_LARGEST_CACHED: Final = 4 * 1024 * 1024
_READERS: Final = 2

log = structlog.get_logger(__name__)


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
            answer = read_whole(connection, select, params)
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


def read_whole(connection: duckdb.DuckDBPyConnection, select: Select, params: dict[str, Any]) -> Answer:
    """Return the answer of ``select``, also when views have been replaced since its columns were looked up.

    Raises `QueryError` when it cannot be answered.
    """
    try:
        return read(connection, select, params)
    except QueryError as error:
        if not isinstance(error.__cause__, duckdb.BinderException):
            raise
    return read(connection, Select(select.sql), params)


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


async def main(settings: Settings) -> None:
    """Keep the read model of ``settings.db`` up to date and answer the named queries, until cancelled."""
    collect_garbage_seldom()
    async with await AsyncLog.connect(settings, producer="projector") as source:
        projector = await open_projector(source, settings.database_dir / READ_MODEL, prompt=True)
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
