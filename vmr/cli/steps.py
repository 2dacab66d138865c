"""Progress of long steps, on standard error, if that is a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vmr.cli.output import visible


class Shown:
    """Progress of a long step on standard error, if that is a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def tell(self, done: int, of: int) -> None:
        """Show how many are done."""
        self._progress.update(self._task, completed=done, total=of)

    def say(self, text: str) -> None:
        """Show what begins now."""
        self._progress.update(self._task, description=visible(text), completed=0, total=None)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Shown]:
    """Yield what shows the progress of ``what``."""
    target = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=target, transient=True, disable=not target.is_terminal) as shown:
        yield Shown(shown, shown.add_task(visible(what), total=None))
