"""Long and wide results on a terminal: through the person's pager, with lines that scroll sideways instead of being folded."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.cells import cell_len

from vmr.cli.output import cell_text

_WIDEST: Final = 1000
_LESS_OPTIONS: Final = "FSX"


def grid(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a table with one line per row; numbers stand to the right, and what is longer than 1,000 characters is cut."""
    shown = [[_line(value) for value in row] for row in rows]
    heads = [_line(column) for column in columns]
    widths = [max(map(_width, texts)) for texts in zip(heads, *shown, strict=True)]
    right = [bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    return [
        _rule("┏┳┓", "━", widths),
        _row("┃", heads, widths, [False] * len(widths)),
        _rule("┡╇┩", "━", widths),
        *(_row("│", row, widths, right) for row in shown),
        _rule("└┴┘", "─", widths),
    ]


def _line(value: Any) -> str:
    text = cell_text(value).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


def _width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes; most texts are plain, and quickly measured."""
    return len(text) if text.isascii() else cell_len(text)


def _rule(corners: str, line: str, widths: Sequence[int]) -> str:
    return corners[0] + corners[1].join(line * (width + 2) for width in widths) + corners[2]


def _row(bar: str, texts: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = (
        " " * (width - _width(text)) + text if to_right else text + " " * (width - _width(text))
        for text, width, to_right in zip(texts, widths, right, strict=True)
    )
    return bar + bar.join(f" {cell} " for cell in cells) + bar


def fits(lines: Sequence[str]) -> bool:
    """Return whether ``lines`` fit on the terminal at once."""
    size = shutil.get_terminal_size()
    return len(lines) < size.lines and all(_width(line) <= size.columns for line in lines)


def pager() -> list[str] | None:
    """Return the command line of the pager: ``$PAGER``, or else ``less -S``; None where there is none, or none is wanted."""
    wanted = os.environ.get("PAGER")
    words = ["less", "-S"] if wanted is None else shlex.split(wanted)
    if not words or words == ["cat"] or shutil.which(words[0]) is None:
        return None
    return words


def page(lines: Sequence[str], command: Sequence[str]) -> None:
    """Show ``lines`` with the pager ``command`` until the person leaves it."""
    environment = {"LESS": _LESS_OPTIONS, "LESSCHARSET": "utf-8", **os.environ}
    with (
        subprocess.Popen(
            list(command), stdin=subprocess.PIPE, env=environment, encoding="utf-8", errors="replace"
        ) as process,
        _interrupts_for_the_pager(),
    ):
        assert process.stdin is not None
        # Who has seen enough leaves before the end; closing writes what is left.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.writelines(f"{line}\n" for line in lines)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


@contextlib.contextmanager
def _interrupts_for_the_pager() -> Iterator[None]:
    """Leave Ctrl-C to the pager, which has the terminal meanwhile."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show(lines: Sequence[str]) -> None:
    """Print ``lines``; where a terminal has no room for them, show them with the pager."""
    command = pager() if sys.stdout.isatty() and not fits(lines) else None
    if command is None:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
    else:
        page(lines, command)
