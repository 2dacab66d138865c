"""What people ask over request-reply: a process with a read model of its own, which answers SQL and the questions.

SQL is served on ``vmrq.<db>.sql``, each question of ``projections/questions`` on ``vmrq.<db>.<question>``.

It follows the log with the same folds as the projector into a file of its own, so that no statement, however heavy, holds up the
answers that an experiment depends on. `vmr.sql_guard` says what a statement may do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb
import structlog

from vmr import asking
from vmr.answers import Readers, Work
from vmr.cursor import CursorWatch
from vmr.endpoints import Endpoints, Parts
from vmr.log import AsyncLog
from vmr.past import Past
from vmr.projections import load_questions
from vmr.projector import collect_garbage_seldom, open_projector, run_projector
from vmr.query import PAST, Answer, Question, encode_answer
from vmr.query_service import wait_for
from vmr.settings import Settings

if TYPE_CHECKING:
    from nats.aio.client import Client

DESCRIPTION: Final = "One SQL statement that reads: params sql, limit (rows) and values (of its named parameters)"
PAST_DESCRIPTION: Final = (
    "Anything that can be asked, as it was: params query, as_of (sequence, time or start+30s) and params (its own)"
)
READ_MODEL: Final = "sql.duckdb"
_HEADERS_ROOM: Final = 1024
_READERS: Final = 2

log = structlog.get_logger(__name__)


class SqlService:
    """SQL on one locked-down read model, served on one connection."""

    def __init__(self, client: Client, db: str, readers: Readers, watch: CursorWatch, past: Past) -> None:
        self._past = past
        self._client = client
        self._db = db
        self._readers = readers
        self._watch = watch
        self._endpoints = Endpoints(client)

    async def start(self) -> None:
        """Begin to serve."""
        described = {name: question.description for name, question in load_questions().items()}
        own = {asking.SQL: DESCRIPTION, PAST: PAST_DESCRIPTION}
        await self._endpoints.start("vmr-sql", self._db, own | described, self._answer)

    async def stop(self) -> None:
        """Stop serving; statements that are running are interrupted."""
        await self._endpoints.stop()

    async def _answer(self, name: str, question: Question, doing: Work) -> Parts:
        within = await wait_for(self._watch, question)
        limit = self._client.max_payload - _HEADERS_ROOM

        def work(connection: duckdb.DuckDBPyConnection) -> Parts:
            return encode_answer(self._read(connection, name, question.params), limit)

        return await self._readers.run(work, within=within, work=doing)

    def _read(self, connection: duckdb.DuckDBPyConnection, name: str, params: dict[str, Any]) -> Answer:
        if name != PAST:
            return asking.answer(connection, name, params)
        asked = asking.past_parameters(params)
        return asking.answer_past(self._past, connection, asked.query, asked.params, asked.as_of)


async def main(settings: Settings) -> None:
    """Keep a read model of ``settings.db`` of its own up to date and answer SQL on it, until cancelled."""
    collect_garbage_seldom()
    async with await AsyncLog.connect(settings, producer="sql") as source:
        projector = await open_projector(source, settings.database_dir / READ_MODEL)
        past = Past(projector.reader())
        readers = Readers([projector.reader() for _ in range(_READERS)])
        projector.lock_down()
        watch = CursorWatch()
        service = SqlService(source.connection.client, settings.db, readers, watch, past)
        try:
            await service.start()
            log.info("SQL is up", db=settings.db, cursor=projector.cursor)
            await run_projector(source, projector, watch)
        finally:
            await service.stop()
            await readers.close()
            projector.close()
