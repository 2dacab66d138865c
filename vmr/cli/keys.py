"""Single keys of a terminal, as they are struck."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final

_READ: Final = 64
_NAMES: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOA": "up"} | {
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
}


def decode(data: bytes) -> list[str]:
    """Return the keys in what a terminal sent: characters, and arrows by name; other sequences are left out."""
    keys = []
    while data:
        if data[:1] != b"\x1b":
            keys.append(data[:1].decode("ascii", "ignore"))
            data = data[1:]
            continue
        if name := _NAMES.get(data[:3]):
            keys.append(name)
        data = data[3:]
    return [key for key in keys if key]


@contextlib.contextmanager
def struck(told: Callable[[str], None]) -> Iterator[None]:
    """Call ``told`` on the running loop for every key while this lasts; does nothing when standard input is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    file, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(file)
    tty.setcbreak(file)  # Ctrl-C stays an interrupt

    def read() -> None:
        for key in decode(os.read(file, _READ)):
            told(key)

    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
