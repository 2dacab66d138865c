"""Events out of a file: an archive's Parquet files, or a read model's table, read with DuckDB in constant memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr import contract
from vmr.as_of import moment_of, sequence_of
from vmr.errors import DataError, InvalidInputError, QueryError
from vmr.events import Recorded
from vmr.messages import recorded_of
from vmr.opened.build import parquet, quoted, relation_of
from vmr.opened.cache import Opened
from vmr.projections import Query, bind, load_queries
from vmr.query import AsOf
from vmr.record import connect
from vmr.replay.selection import Vms, Wanted, matching

_ROWS: Final = 1_000
_WINDOW: Final = 50_000
_MEMORY: Final = "512MB"


class TableSource:
    """The events of a file. Not for several threads at once.

    Attributes:
        first: sequence of the first event.
        last: sequence of the last event.
        database: name of the database that they were recorded in.

    """

    def __init__(self, record: Path, opened: Opened | None = None) -> None:
        # An archive that is only unpacked has no record: its events are all that is asked for then.
        self._connection = connect(record) if record.is_file() else duckdb.connect()
        self._record = record
        self._opened = opened
        self._connection.execute(f"SET memory_limit = '{_MEMORY}'; SET threads = 2")
        relation = _query("record_messages").sql if opened is None else f"FROM {parquet(opened.events)}"
        self._connection.execute(f"CREATE VIEW memory.main.recorded AS {relation}")
        rows = self._connection.execute(
            "SELECT min(seq), max(seq), any_value(subject) FROM memory.main.recorded"
        ).fetchall()
        self.first, self.last, subject = rows[0]
        if self.first is None:
            raise DataError(f"{record} has no events")
        self.database = subject.split(".")[1] if subject.count(".") > 1 else ""

    def sequence(self, moment: AsOf) -> int:
        """Return the sequence of the last event that was recorded by ``moment`` (see `vmr.as_of`).

        A moment that counts from the start needs the read model (see `needs_record`), any other only the events.
        """
        if needs_record(moment):
            return sequence_of(self._connection, moment)
        number = begin_at(moment)
        if number is None:
            assert not isinstance(moment, int)
            before = 1000 * (moment_of(moment, None) + 1)
            rows = self._connection.execute(
                "SELECT coalesce(max(seq), 0) FROM memory.main.recorded WHERE stored_ns < $before", {"before": before}
            ).fetchall()
            number = int(rows[0][0])
        if not 0 <= number <= self.last:
            raise QueryError(f"as of {moment}: the record goes from sequence 0, before everything, to {self.last}")
        return number

    def read(self, wanted: Wanted) -> Generator[list[Recorded], None, None]:
        """Yield the events that are wanted, in order, in batches."""
        vms = None if wanted.vm is None else self._vms(wanted.vm)
        first, last = self.bounds(wanted)
        params = {
            "types": None if wanted.types is None else self._types(wanted.types),
            "uuids": None if vms is None else list(vms.uuids),
            "names": None if vms is None else list(vms.names),
        }
        query = _query("selected_events")
        with self._connection.cursor() as cursor:
            size = _WINDOW
            if wanted.types is not None or vms is not None:
                bounds = bind(_query("selected_bounds"), params | {"first": first, "last": last})
                ((found, end, count),) = cursor.execute(_query("selected_bounds").sql, bounds).fetchall()
                if not count:
                    return
                first, last, size = found, end, _WINDOW if count > _WINDOW else end - found + 1
            # Piece by piece, each in order: DuckDB gives the rows of a long result as its threads come along.
            for begin in range(first, last + 1, size):
                window = {"first": begin, "last": min(last, begin + size - 1)}
                result = cursor.execute(query.sql, bind(query, params | window))
                while rows := result.fetchmany(_ROWS):
                    yield [recorded_of(*row) for row in rows]

    def bounds(self, wanted: Wanted) -> tuple[int, int]:
        """Return the first and the last sequence that may be wanted."""
        first, last = self.first, self.last
        if wanted.since is not None:
            first = max(first, begin_at(wanted.since) or self.sequence(wanted.since) + 1)
        if wanted.until is not None:
            last = min(last, self.sequence(wanted.until))
        return first, last

    def _types(self, patterns: tuple[str, ...]) -> list[str]:
        rows = self._connection.execute("SELECT DISTINCT type FROM memory.main.recorded").fetchall()
        return matching(patterns, [name for (name,) in rows])

    def _vms(self, vm: str) -> Vms:
        rows = self._connection.execute(
            "SELECT DISTINCT server_uuid, server_name FROM memory.main.recorded"
            " WHERE type = 'vm.added' AND $vm IN (server_uuid, server_name)",
            {"vm": vm},
        ).fetchall()
        return known_vms(vm, rows)

    def attach_to(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the SQL with which ``connection``, to another database, reads the events with their columns."""
        if self._opened is not None:
            return relation_of(self._opened.events, self._opened.filled)
        connection.execute(f"ATTACH '{quoted(self._record)}' AS source (READ_ONLY)")
        return "source.main.events"

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def needs_record(*moments: AsOf | None) -> bool:
    """Return whether one of ``moments`` counts from the start of the run, which the read model knows."""
    return any(isinstance(moment, str) and moment.strip().startswith("start") for moment in moments)


def begin_at(moment: Any) -> int | None:
    """Return the sequence that ``moment`` is; None when it is another kind of moment."""
    if isinstance(moment, str) and moment.isdecimal():
        return int(moment)
    return moment if isinstance(moment, int) else None


def known_vms(vm: str, rows: list[tuple[str, str]]) -> Vms:
    """Return the VMs in ``rows`` (uuid, name); raise `InvalidInputError` when there is none."""
    if not rows:
        raise InvalidInputError(f"no VM of this run has the name or uuid {vm!r}")
    return Vms(tuple(sorted({uuid for uuid, _ in rows})), tuple(sorted({name for _, name in rows})))


def _query(name: str) -> Query:
    return load_queries(contract.projections() / "replay")[name]
