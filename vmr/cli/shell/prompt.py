"""The shell's prompt on a terminal: editing in several lines, colours, completion, and a history that only its owner can read."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import DummyCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.patch_stdout import patch_stdout
from pygments.lexers.sql import PostgresLexer

from vmr.cli.shell.completion import SqlCompleter
from vmr.cli.shell.statements import is_complete
from vmr.errors import VmrError

if TYPE_CHECKING:
    from vmr.cli.shell.interactive import Shell, Source


def prompting(shell: Shell, history: Path) -> Source:
    """Return what asks the person at the terminal, again and again, with ``history`` in a file."""
    session: PromptSession[str] = PromptSession(
        history=_history(shell, history),
        lexer=PygmentsLexer(PostgresLexer),
        completer=_completer(shell),
        complete_while_typing=True,
        auto_suggest=AutoSuggestFromHistory(),
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation=lambda width, _line, _wraps: "... ".rjust(width),
    )

    def read() -> str:
        moment = "" if shell.as_of is None else f" (as of {shell.as_of})"
        with _log_above_the_prompt():
            return session.prompt(f"vmr{moment}> ")

    return read


@contextlib.contextmanager
def _log_above_the_prompt() -> Iterator[None]:
    """Let what is logged while somebody types, such as that the server is away, appear above the line and not in it."""
    with patch_stdout(raw=True):
        handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
        before = [(one, one.stream) for one in handlers]
        for one in handlers:
            one.setStream(sys.stderr)
        try:
            yield
        finally:
            for one, stream in before:
                one.setStream(stream)


def _completer(shell: Shell) -> SqlCompleter | DummyCompleter:
    try:
        return SqlCompleter(shell.catalog)
    except VmrError as error:
        shell.say(f"there is no completion: {error}")
        return DummyCompleter()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @Condition
    def complete() -> bool:
        return is_complete(get_app().current_buffer.text)

    @Condition
    def choosing() -> bool:
        state = get_app().current_buffer.complete_state
        return state is not None and state.current_completion is not None

    @keys.add("enter", filter=complete & ~choosing)
    def execute(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("enter", filter=choosing)
    def choose(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    return keys


def _history(shell: Shell, path: Path) -> History:
    """Return the history in ``path``, which only its owner may read: statements hold names and addresses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        shell.say(f"what is typed will not be remembered: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(str(path))
