"""What a run came to: said at its end, from the read model, with what to ask next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from vmr.cli.output import console, table, visible
from vmr.errors import VmrError
from vmr.log import AsyncLog
from vmr.run import Finished, Run
from vmr.run_state import Counts, counts
from vmr.subjects import stream_name

_MOST_ROWS: Final = 60
_MOST_WAIVED: Final = 20
_ENDINGS: Final = {
    "complete": "everything has run",
    "end": "the end time of the experiment file was reached",
    "ended": "an operator called it ended",
    "stuck": "it cannot start: a VM failed before it was configured",
}
QUESTIONS: Final = (
    (
        "What did the programs print that is JSON?",
        "SELECT server_name, entry, json FROM output_json_lines ORDER BY server_name, entry",
    ),
    (
        "What ended with another exit code than 0, and what did it say?",
        (
            "SELECT attempts.server_name, entry, exit_code, stream, text FROM attempts "
            "LEFT JOIN output_lines USING (server_uuid, entry, attempt) WHERE exit_code <> 0"
        ),
    ),
    (
        "Which entries took longest?",
        "SELECT server_name, entry, round(duration, 2) AS seconds FROM attempts ORDER BY duration DESC LIMIT 10",
    ),
)


async def print_summary(log: AsyncLog, run: Run, finished: Finished) -> None:
    """Print how the run ended, what each VM ran, where the record is, and three questions to ask next."""
    out = console()
    total = sum((counts(vm) for vm in finished.state.vms), Counts())
    out.print(
        f"\n{visible(run.experiment.name)}: {_ENDINGS[finished.outcome]}", style="bold", markup=False, highlight=False
    )
    for vm in finished.state.failed():
        waived = " (waived)" if vm.waived else ""
        said = f"  VM {visible(vm.name)} failed: {visible(vm.reason)}{waived}"
        out.print(said, style="red", markup=False, highlight=False)
    if finished.outcome == "stuck":
        _print_mend(finished)
    try:
        answer = await log.query("attempts", after=finished.sequence, timeout=60.0)
        rows = list(_rows(answer.records(), finished))
        shown = rows if len(rows) <= _MOST_ROWS else [row for row in rows if row[4] != "0"][:_MOST_ROWS]
        out.print(table(("VM", "Time", "Entry", "Attempt", "Exit", "Started", "Seconds"), shown))
        if len(shown) < len(rows):
            out.print(f"({len(rows)} attempts in all; shown are those that did not end with 0, at most {_MOST_ROWS})")
    except VmrError as error:
        out.print(f"the read model does not answer: {error}", style="yellow", markup=False)
    _print_counts(finished, total)
    _print_where(log, run, finished)


def _print_mend(finished: Finished) -> None:
    """Say how a run goes on that waits for VMs which have failed."""
    blocking = [vm.name for vm in finished.state.blocking()]
    names = " ".join(shlex.quote(visible(name)) for name in blocking[:_MOST_WAIVED])
    more = f" and {len(blocking) - _MOST_WAIVED} more" if len(blocking) > _MOST_WAIVED else ""
    it = "it" if len(blocking) == 1 else "them"
    text = (
        f"To go on without {it}: `vmr vm waive {names}`{more}, then `vmr run --resume`. With `failed_vms: waive` in the experiment"
        " file a run does so by itself."
    )
    console().print(text, style="bold", markup=False, highlight=False, soft_wrap=True)


def _rows(attempts: list[dict[str, Any]], finished: Finished) -> Iterator[tuple[str, ...]]:
    attempts.sort(key=lambda each: (str(each["server_name"]), _second(each), str(each["started"]), each["attempt"]))
    for each in attempts:
        code = each["exit_code"]
        ended = each["status"] if code is None or each["status"] != "finished" else str(code)
        yield (
            visible(str(each["server_name"])),
            visible(str(each["scheduled_time"] or "")),
            visible(str(each["name"] or each["entry"])),
            str(each["attempt"]),
            "-" if ended == "finished" else ended,
            _started(each, finished.state.start),
            "" if each["duration"] is None else f"{each['duration']:.2f}",
        )


def _second(attempt: Mapping[str, Any]) -> float:
    value = attempt["scheduled_second"]
    return math.inf if value is None else float(value)


def _started(attempt: Mapping[str, Any], start: datetime | None) -> str:
    if attempt["started"] is None:
        return ""
    at = datetime.fromisoformat(attempt["started"])
    return at.strftime("%H:%M:%S") if start is None else f"{(at - start).total_seconds():+.2f}"


def _print_counts(finished: Finished, total: Counts) -> None:
    parts = [f"{len(finished.state.vms)} VMs", f"{total.entries} entries", f"{total.finished} finished"]
    parts += [
        f"{value} {name}"
        for name, value in (
            ("with a nonzero exit code", total.nonzero),
            ("failed", total.failed),
            ("lost", total.lost),
            ("still running", total.running),
        )
        if value
    ]
    console().print(", ".join(parts), highlight=False)


def _print_where(log: AsyncLog, run: Run, finished: Finished) -> None:
    out = console()
    settings = log.settings
    out.print(
        f"\nThe record: {finished.state.events} events in stream {stream_name(log.db)}, kept in {settings.home}",
        markup=False,
    )
    out.print(f"Consoles, the handler's log, files copied out of guests: {run.folder}", markup=False, highlight=False)
    out.print("\nAsk next:", highlight=False)
    for question, statement in QUESTIONS:
        out.print(f"  {question}", highlight=False)
        out.print(f'    vmr sql "{statement}"', markup=False, highlight=False, soft_wrap=True)
    out.print("  All of it on one page; where the time went; the run as a file to keep:", highlight=False)
    out.print("    vmr report -o report.html; vmr blame; vmr archive -o run.zip", highlight=False, soft_wrap=True)
