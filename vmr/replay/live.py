"""Events out of the log of a running server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from vmr.as_of import moment_of
from vmr.errors import QueryError
from vmr.events import Recorded, VmAdded
from vmr.log import AsyncLog
from vmr.record import Run, run_of
from vmr.replay.selection import Match, Vms, Wanted
from vmr.replay.table import begin_at, known_vms
from vmr.subjects import ROOT, entity_subject

_SECONDS: Final = 60.0
_LAST_STORED: Final = (
    "SELECT coalesce(max(seq), 0) AS seq FROM events WHERE stored <= make_timestamptz($moment::BIGINT)"
)


class LogSource:
    """The events of one run in the log.

    Attributes:
        first: sequence of the run's first event.
        last: sequence of its last event when it was looked up.
        database: name of the database.

    """

    def __init__(self, log: AsyncLog, run: Run) -> None:
        self.log = log
        self._run = run
        self.first = run.first_seq
        self.last = run.last_seq
        self.database = log.db

    @classmethod
    async def find(cls, log: AsyncLog, name: str | None) -> LogSource:
        """Return the run of this number or name, or the present one for None; raise `InvalidInputError` when there is none."""
        return cls(log, await run_of(log, name))

    async def sequence(self, moment: Any) -> int:
        """Return the sequence of the last event of the run that was recorded by ``moment`` (see `vmr.as_of`)."""
        number = begin_at(moment)
        if number is None:
            start = await self._start() if isinstance(moment, str) and moment.strip().startswith("start") else None
            asked = {"sql": _LAST_STORED, "values": {"moment": moment_of(moment, start)}}
            number = (await self.log.query("sql", asked, after=self.last, timeout=_SECONDS)).rows[0][0]
        if not 0 <= number <= self.last:
            raise QueryError(f"as of {moment}: the record goes from sequence 0, before everything, to {self.last}")
        return number

    async def _start(self) -> datetime | None:
        answer = await self.log.query("runs", {"run": self._run.run}, after=self.last, timeout=_SECONDS)
        start = answer.records()[0]["start_time"]
        return None if start is None else datetime.fromisoformat(start)

    async def read(self, wanted: Wanted) -> AsyncGenerator[list[Recorded], None]:
        """Yield the events that are wanted, in order, in batches."""
        vms = None if wanted.vm is None else await self._vms(wanted.vm)
        first, last = await self.bounds(wanted)
        match = Match(wanted.types, vms)
        async with aclosing(self.log.read(self._filters(wanted, vms), first, last)) as batches:
            async for batch in batches:
                yield [recorded for recorded in batch if match(recorded)]

    async def bounds(self, wanted: Wanted) -> tuple[int, int]:
        """Return the first and the last sequence that may be wanted."""
        first, last = self.first, self.last
        if wanted.since is not None:
            first = max(first, begin_at(wanted.since) or await self.sequence(wanted.since) + 1)
        if wanted.until is not None:
            last = min(last, await self.sequence(wanted.until))
        return first, last

    async def _vms(self, vm: str) -> Vms:
        rows: list[tuple[str, str]] = []
        async for batch in self.log.read([f"{ROOT}.{self.database}.vm.*.added"], self.first, self.last):
            added = [recorded.event.body for recorded in batch]
            rows += [
                (body.server_uuid, body.server_name)
                for body in added
                if isinstance(body, VmAdded) and vm in {body.server_uuid, body.server_name}
            ]
        return known_vms(vm, rows)

    def _filters(self, wanted: Wanted, vms: Vms | None) -> list[str] | None:
        """Return the subjects that the server need send, None for all: it is slow where several wildcards could fit."""
        if vms is not None:
            about = [entity_subject(self.database, "vm", uuid, ">") for uuid in vms.uuids]
            return [*about, *(entity_subject(self.database, "schedule", name, ">") for name in vms.names)]
        if wanted.types is None or len(wanted.types) > 1:
            return None
        entity, _, event = wanted.types[0].partition(".")
        if not entity.isalnum():
            return None
        plain = event.replace("_", "").isalnum()
        rest = event if entity == "experiment" else f"*.{event}"
        return [f"{ROOT}.{self.database}.{entity}.{rest if plain else '>'}"]
