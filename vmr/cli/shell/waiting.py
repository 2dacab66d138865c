"""Waiting for an answer at a terminal: what it takes is shown, and Ctrl-C stops the statement."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, Final

from rich.console import Console
from rich.status import Status

from vmr.cli.shell.readers import Reader
from vmr.query import Answer, AsOf

_QUIET_SECONDS: Final = 0.7
_LOOK_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0


def ask_patiently(
    reader: Reader, name: str, params: Mapping[str, Any], *, timeout: float, as_of: AsOf | None = None
) -> Answer:
    """Return the answer of ``reader``, which may take up to ``timeout`` seconds.

    On a terminal, standard error shows how long it takes already, and how far it is where that is known. `KeyboardInterrupt` stops the
    statement and goes on as such. Raises what ``reader`` raises.
    """
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(reader.ask(name, params, timeout=timeout, as_of=as_of))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that waits raises it
            future.set_exception(error)

    threading.Thread(target=work, name="vmr question", daemon=True).start()
    try:
        _wait(future, reader)
    except KeyboardInterrupt:
        _stop(future, reader)
        raise
    return future.result()


def _wait(future: Future[Answer], reader: Reader) -> None:
    begun = time.monotonic()
    if wait({future}, _QUIET_SECONDS).done:
        return
    with _status() as status:
        while not wait({future}, _LOOK_SECONDS).done:
            if status is not None:
                status.update(describe(time.monotonic() - begun, reader.progress()))


@contextlib.contextmanager
def _status() -> Iterator[Status | None]:
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    with console.status("") as status:
        yield status


def describe(seconds: float, fraction: float | None) -> str:
    """Return what is said of an answer after ``seconds``, of which ``fraction`` is done."""
    done = "" if fraction is None else f", {fraction:.0%}"
    return f"{seconds:.1f} s{done}; Ctrl-C stops it"


def _stop(future: Future[Answer], reader: Reader) -> None:
    """Interrupt what runs until it has ended, or for `_STOP_SECONDS`: then its own time limit ends it."""
    pause = 0.02
    until = time.monotonic() + _STOP_SECONDS
    while not future.done() and time.monotonic() < until:
        reader.interrupt()
        wait({future}, pause)
        pause = min(pause * 2, 1.0)
