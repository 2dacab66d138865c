"""The interactive SQL shell: reads statements, asks a `vmr.cli.shell.readers.Reader`, shows what comes back."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import platformdirs

from vmr.cli.output import Format, csv_lines, json_lines, print_error, print_note, print_rows
from vmr.cli.shell import commands, paging
from vmr.cli.shell.catalog import Catalog, load_catalog
from vmr.cli.shell.readers import Reader
from vmr.cli.shell.statements import is_blank, is_command, is_complete, split
from vmr.cli.shell.waiting import ask_patiently
from vmr.errors import VmrError
from vmr.query import AsOf

SECONDS: Final = 120.0
Source: TypeAlias = Callable[[], str]
"""Returns what to execute next; raises `EOFError` when there is no more, and `KeyboardInterrupt` when it was taken back."""


class Shell:
    """One session.

    Attributes:
        as_of: the moment that is looked at; None for now.
        form: how rows are shown.
        failed: whether anything could not be done.

    """

    def __init__(
        self, reader: Reader, *, as_of: AsOf | None = None, form: Format = Format.TABLE, timeout: float = SECONDS
    ) -> None:
        """Ask ``reader``, each question for at most ``timeout`` seconds."""
        self._reader = reader
        self._timeout = timeout
        self.as_of = as_of
        self.form = form
        self.failed = False

    @cached_property
    def catalog(self) -> Catalog:
        """What there is to ask; asked for once. Raises `VmrError` when it cannot be had."""
        return load_catalog(self._reader)

    def run(self, source: Source) -> None:
        """Execute what ``source`` returns, until there is no more. `KeyboardInterrupt` ends it."""
        with contextlib.suppress(EOFError):
            while True:
                self.execute(source())

    def converse(self, source: Source) -> None:
        """Execute what a person types until they leave. `KeyboardInterrupt` takes back the line, or stops what is executed."""
        with contextlib.suppress(EOFError):
            while True:
                with contextlib.suppress(KeyboardInterrupt):
                    text = source()
                    self._execute_until_stopped(text)

    def _execute_until_stopped(self, text: str) -> None:
        try:
            self.execute(text)
        except KeyboardInterrupt:
            self.say("stopped")

    def execute(self, text: str) -> None:
        """Execute a command, or SQL statements; an error is said, in one line, and ends the rest of ``text``."""
        try:
            if is_command(text):
                commands.execute(self, text)
                return
            ended, rest = split(text)
            for statement in ended + ([] if is_blank(rest) else [rest]):
                self.ask("sql", {"sql": statement})
        except VmrError as error:
            self.failed = True
            print_error(one_line(error))

    def ask(self, name: str, params: Mapping[str, Any]) -> None:
        """Ask the question ``name`` (or ``sql``), and show its rows and what it took. Raises `VmrError` when there is no answer."""
        begun = time.monotonic()
        answer = ask_patiently(self._reader, name, params, timeout=self._timeout, as_of=self.as_of)
        seconds = time.monotonic() - begun
        self.show(answer.columns, answer.rows)
        count = "1 row" if len(answer.rows) == 1 else f"{len(answer.rows):,} rows"
        more = "; there are more: add a LIMIT or a WHERE" if answer.truncated else ""
        self.say(f"{count}{more}; {seconds:.3f} s; as of sequence {answer.sequence:,}")

    def look_back(self, moment: str) -> None:
        """Answer from now on as of ``moment``; raise `VmrError` when that is none."""
        self._reader.ask("sql", {"sql": "SELECT 1"}, timeout=self._timeout, as_of=moment)
        self.as_of = moment

    def show(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show ``rows`` in the format of the session, with the pager where a terminal has no room for them."""
        terminal = sys.stdout.isatty()
        if self.form is Format.JSON:
            paging.show([line.decode().rstrip("\n") for line in json_lines(columns, rows)])
        elif self.form is Format.CSV:
            text = b"".join(csv_lines(columns, rows, for_terminal=terminal)).decode()
            paging.show(text.removesuffix("\n").split("\n"))
        elif terminal and (paging.pager() is not None or len(rows) < shutil.get_terminal_size().lines):
            self._show_grid(columns, rows)
        else:
            print_rows(columns, rows)

    def _show_grid(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        lines = paging.grid(columns, rows)
        if paging.pager() is None and not paging.fits(lines):
            print_rows(columns, rows)
        else:
            paging.show(lines)

    def say(self, text: str) -> None:
        """Say something beside the rows."""
        print_note(text)


def one_line(error: VmrError) -> str:
    """Return what ``error`` says, in one line; DuckDB's messages have several."""
    lines = (line.strip() for line in str(error).removeprefix("query 'sql': ").replace(" | ", "\n").splitlines())
    return " | ".join(line for line in lines if line.strip("^ "))


def run_shell(
    reader: Reader,
    *,
    title: str = "",
    as_of: AsOf | None = None,
    form: Format = Format.TABLE,
    timeout: float | None = None,
    history: Path | None = None,
) -> bool:
    """Read and execute SQL until the person leaves (Ctrl-D, ``.quit``) or standard input ends; return whether all of it could be done.

    Questions go to ``reader``, such as a `vmr.offline.OfflineReader`, with at most ``timeout`` seconds each (default: `SECONDS`). ``title`` says what is
    being looked at. On a terminal there are history (in the file ``history``; default: one in the user's state folder), completion
    and paging; elsewhere statements are read from standard input, and rows are printed as `vmr sql` prints them.
    """
    shell = Shell(reader, as_of=as_of, form=form, timeout=timeout or SECONDS)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        shell.run(_lines(sys.stdin))
        return not shell.failed
    from vmr.cli.shell.prompt import prompting  # noqa: PLC0415 - it takes long to load, and pipes do without

    shell.say(f"{title}{'. ' if title else ''}.help lists what there is, Tab completes, Ctrl-D leaves")
    shell.converse(prompting(shell, history or platformdirs.user_state_path("vmr") / "sql_history"))
    return True


def _lines(stream: TextIO) -> Source:
    """Return a source of what ``stream`` has: each command, and each line or lines that end with a semicolon."""

    def read() -> str:
        text = ""
        for line in stream:
            text += line
            if is_complete(text):
                return text
        if not text.strip():
            raise EOFError
        return text

    return read
