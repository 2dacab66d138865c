"""What the timeline and the pages of the VMs show: lists of short rows, in which numbers stand for VMs, entries and outcomes.

Moments are microseconds after the run's zero (the start, where there was one). `report.js` names the columns, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import duckdb

from vmr.report.record import Run, select, vms_of
from vmr.report.text import clipped, one_line

OUTCOMES: Final = {
    "done": "finished",
    "exit_code": "exit code not 0",
    "timed_out": "killed at its timeout",
    "not_launched": "could not be launched",
    "lost": "lost",
    "rebooted": "asked for a reboot",
    "running": "no end recorded",
    "unknown": "no start recorded",
}
"""The outcomes of an execution, as ``projections/report/attempts.sql`` calls them, in words."""
PROBLEMS: Final = frozenset({"exit_code", "timed_out", "not_launched", "lost", "unknown"})
_NUMBERS: Final = {outcome: number for number, outcome in enumerate(OUTCOMES)}
_LONGEST: Final = 2000


class Timeline:
    """Everything that happened to the VMs of a run.

    Attributes:
        attempts: number of each execution in the timeline, by VM, entry and attempt.
        owner: number of the VM of each execution.
        counts: how many executions had each outcome.
        vms: number of each VM, by its uuid.

    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, run: Run) -> None:
        self._connection, self._run = connection, run
        self._vm_rows = vms_of(connection)
        self.vms = {row["server_uuid"]: number for number, row in enumerate(self._vm_rows)}
        self._entries = select(connection, "entries")
        self._numbers = {(row["server_uuid"], row["entry"]): number for number, row in enumerate(self._entries)}
        self._attempts = select(connection, "attempts")
        self.attempts = {
            (row["server_uuid"], row["entry"], row["attempt"]): number for number, row in enumerate(self._attempts)
        }
        self.owner = [self.vms[row["server_uuid"]] for row in self._attempts]
        self.counts = {name: sum(row["outcome"] == name for row in self._attempts) for name in OUTCOMES}

    @property
    def entries(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def content(self, blocks: Mapping[int, int]) -> dict[str, Any]:
        """Return all of it for the page; ``blocks`` says in which part the output of each VM is."""
        return {
            "zero": self._run.zero,
            "started": self._run.start is not None,
            "last": self._run.last_moment - self._run.zero,
            "outcomes": [[key, words, key in PROBLEMS] for key, words in OUTCOMES.items()],
            "vms": [self._vm(number, row, blocks) for number, row in enumerate(self._vm_rows)],
            "states": [
                [self.vms[row["server_uuid"]], self._at(row["since"]), _short(row["state"]), _short(row["reason"])]
                for row in select(self._connection, "states")
            ],
            "entries": [
                [
                    self.vms[row["server_uuid"]],
                    *(_short(row[name]) for name in ("entry", "scheduled_time", "kind", "command")),
                ]
                for row in self._entries
            ],
            "attempts": [self._attempt(row) for row in self._attempts],
            "transfers": [
                [
                    *self._of_entry(row),
                    _short(row["guest_path"]),
                    row["size"],
                    _short(row["sha256"]),
                    self._at(row["moment"]),
                ]
                for row in select(self._connection, "transfers")
            ],
            "reboots": [
                [self.vms[row["server_uuid"]], self._at(row["moment"])] for row in select(self._connection, "reboots")
            ],
            "holds": [
                [self.vms.get(row["server_uuid"]), self._at(row["since"]), self._at(row["until"])]
                for row in select(self._connection, "holds")
            ],
        }

    def _vm(self, number: int, row: Mapping[str, Any], blocks: Mapping[int, int]) -> list[Any]:
        texts = (
            _short(row[name]) for name in ("server_uuid", "state", "state_reason", "vm_time", "control_ip", "host")
        )
        flags = (row["ready"], row["waived"], row["present"])
        return [row["name"], *texts, *flags, blocks.get(number)]

    def _of_entry(self, row: Mapping[str, Any]) -> tuple[int, str]:
        return self.vms[row["server_uuid"]], _short(row["entry"]) or ""

    def _attempt(self, row: Mapping[str, Any]) -> list[Any]:
        return [
            self._numbers[row["server_uuid"], row["entry"]],
            row["attempt"],
            _NUMBERS[row["outcome"]],
            row["exit_code"],
            row["signal"],
            *(self._at(row[name]) for name in ("due", "started", "ended")),
            row["duration"],
            row["lateness"],
            _short(row["reason"]),
            row["stdout_size"],
            row["stderr_size"],
        ]

    def _at(self, moment: int | None) -> int | None:
        return None if moment is None else moment - self._run.zero


def _short(text: str | None) -> str | None:
    return None if text is None else clipped(one_line(text), _LONGEST)
