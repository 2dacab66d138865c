"""Writes a report: reads what it needs from the read model, and puts the page together as it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import duckdb

from vmr import __version__, contract, new_files
from vmr.errors import InvalidInputError
from vmr.projections import load_queries
from vmr.record import connect
from vmr.report import summary
from vmr.report.answers import asked, table
from vmr.report.outputs import bound, excerpts
from vmr.report.page import render
from vmr.report.parts import Blocks, packed
from vmr.report.record import Run, run_of, select
from vmr.report.timeline import Timeline

OUTPUT_BYTES: Final = 1024
ROWS: Final = 20
_ANOMALIES: Final = 200

Tell = Callable[[str], None]
"""Is told what is being done."""


def write_report(
    record: Path,
    path: Path,
    *,
    overwrite: bool = False,
    output_bytes: int = OUTPUT_BYTES,
    rows: int = ROWS,
    tell: Tell | None = None,
) -> int:
    """Write the report of the current run of the read model ``record`` to ``path``, and return its size in bytes.

    ``output_bytes`` is how much of the beginning, and how much of the end, of what each execution wrote on each stream is in it (less
    where that would be more than 32 MiB in all); ``rows`` is how many rows of each answer. The same record gives the same bytes. Raises
    `InvalidInputError` when there is a file already and ``overwrite`` is false, or none can be written; `DataError` when ``record`` is
    no record.
    """
    if output_bytes < 1 or rows < 1:
        raise InvalidInputError("a report has at least 1 byte of each output, and at least 1 row of each answer")
    with contextlib.closing(connect(record)) as connection, new_files.writing(path, force=overwrite) as part:
        # With one thread, what SQL leaves open (which of equals comes first) is the same every time.
        connection.execute("SET threads = 1")
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_page(connection, output_bytes, rows, tell or _tell_nobody))
        return part.stat().st_size


def _tell_nobody(_: str) -> None:
    pass


def _page(connection: duckdb.DuckDBPyConnection, output_bytes: int, rows: int, tell: Tell) -> Iterator[str]:
    tell("reading the VMs and what they did")
    run = run_of(connection)
    timeline = Timeline(connection, run)
    blocks = Blocks()
    return render(
        {
            "version": __version__,
            "run": run,
            "title": summary.title_of(run),
            "subtitle": summary.subtitle_of(run, timeline),
            "lead": summary.lead_of(run, timeline),
            "tiles": summary.tiles_of(timeline),
            "facts": summary.facts_of(run, timeline),
            "since": "from the first event" if run.start is None else "from the start",
            "barrier": summary.barrier_of(connection, run, rows // 2 or 1),
            "questions": _asked(connection, run, rows, tell),
            "kinds": table(
                connection, load_queries(contract.projections() / "report")["anomaly_kinds"], run.zero, rows
            ),
            "anomalies": table(
                connection, load_queries(contract.projections() / "report")["anomalies"], run.zero, _ANOMALIES
            ),
            "parts": _outputs(connection, timeline, blocks, output_bytes, tell),
            # Called when the parts are written, and it is known which VM is in which.
            "content": lambda: packed(timeline.content(blocks.of_vm)),
        }
    )


def _asked(connection: duckdb.DuckDBPyConnection, run: Run, rows: int, tell: Tell) -> Iterator[Any]:
    for one in asked(connection, run.zero, rows):
        tell(f"asking: {one.name}")
        yield one


def _outputs(
    connection: duckdb.DuckDBPyConnection, timeline: Timeline, blocks: Blocks, wanted: int, tell: Tell
) -> Iterator[str]:
    """Yield the parts with what programs wrote; each VM's executions, by their number, with what each wrote on each stream."""
    tell("reading what programs wrote")
    kept = bound((row["size"] for row in select(connection, "output_sizes")), wanted)
    rows = (tuple(row.values()) for row in select(connection, "outputs", bytes=kept))
    by_vm: dict[int, dict[str, Any]] = {}
    for key, streams in excerpts(rows, kept):
        number = timeline.attempts[key]
        by_vm.setdefault(timeline.owner[number], {})[str(number)] = streams
    tell("writing what programs wrote")
    return blocks.pack(sorted(by_vm.items()))
