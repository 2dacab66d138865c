"""How a run goes, while it goes: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vmr.cli.output import visible
from vmr.run import Watcher
from vmr.run_state import Counts, RunState, counts
from vmr.vm_state import VmState

_MOST_ROWS: Final = 25
_LINE_SECONDS: Final = 5.0
_STYLES: Final = {"configured": "green", "n/a": "green", "configuring": "yellow", "failed": "bold red"}


@contextlib.contextmanager
def watcher(name: str) -> Iterator[Watcher]:
    """Yield what shows the progress of the run called ``name`` on standard error, until the block ends."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    table = _Table(name)
    with Live(table, console=console, refresh_per_second=5, transient=True):
        yield table


class _Lines:
    """Progress as lines: each stage, each change of the VMs' states, and a count now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = self._last = time.monotonic()
        self._states: Counter[str] = Counter()

    def stage(self, text: str) -> None:
        self._say(text)

    def changed(self, state: RunState) -> None:
        if time.monotonic() - self._last < _LINE_SECONDS and len(state.vms) > _MOST_ROWS:
            return
        states = Counter(vm.state for vm in state.vms)
        if states != self._states or time.monotonic() - self._last > _LINE_SECONDS:
            self._states = states
            self._say(_line(state))

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        self._console.print(f"{self._last - self._begun:6.1f} s  {visible(text)}", soft_wrap=True, markup=False)


class _Table:
    """Progress as a table that redraws itself: the VMs, or their numbers when there are many."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stage = ""
        self._state: RunState | None = None

    def stage(self, text: str) -> None:
        self._stage = text

    def changed(self, state: RunState) -> None:
        self._stage = ""
        self._state = state

    def __rich__(self) -> RenderableType:
        if self._state is None or self._stage:
            return Text(f"{self._name}: {visible(self._stage)}")
        vms = self._state.vms
        body = _rows(vms) if len(vms) <= _MOST_ROWS else _mix(vms)
        return Group(Text(f"{self._name}: {_line(self._state)}"), body)


def _rows(vms: list[VmState]) -> Table:
    table = _columns("VM", "State", "Time", "Done", "Now")
    for vm in vms:
        total = counts(vm)
        now = ", ".join(visible(each.entry.name) for each in vm.entries.values() if each.running)
        table.add_row(visible(vm.name), _state(vm.state), visible(vm.current_time), _done(total), now)
    return table


def _mix(vms: list[VmState]) -> Table:
    table = _columns("State", "VMs", "Done", "Running")
    for state in sorted({vm.state for vm in vms}):
        of = [counts(vm) for vm in vms if vm.state == state]
        total = sum(of, Counts())
        table.add_row(_state(state), str(len(of)), _done(total), str(total.running))
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    return table


def _state(state: str) -> Text:
    return Text(visible(state), style=_STYLES.get(state, ""))


def _done(total: Counts) -> str:
    return f"{total.finished + total.failed + total.lost}/{total.entries}"


def _line(state: RunState) -> str:
    total = sum((counts(vm) for vm in state.vms), Counts())
    states = ", ".join(f"{count} {name}" for name, count in sorted(Counter(vm.state for vm in state.vms).items()))
    problems = "".join(f", {value} {name}" for name, value in (("failed", total.failed), ("lost", total.lost)) if value)
    return f"{_when(state)}; {states or 'no VMs yet'}; entries {_done(total)}, {total.running} running{problems}"


def _when(state: RunState) -> str:
    if state.start is None:
        return f"configuring, {state.not_ready} not ready"
    seconds = (datetime.now(UTC) - state.start).total_seconds()
    return f"starts in {-seconds:.0f} s" if seconds < 0 else f"time {seconds:.0f}"
