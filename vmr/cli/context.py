"""What commands share: settings from the root's options, and a way from typer's functions into asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from vmr.errors import InvalidInputError
from vmr.settings import Settings, load_settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """The root's options."""

    url: str | None = None
    home: Path | None = None
    db: str | None = None
    debug: bool = False


def settings_of(context: typer.Context) -> Settings:
    """Return the settings in force for this command line; raises `InvalidInputError`."""
    state = context.obj if isinstance(context.obj, State) else State()
    return load_settings(url=state.url, home=state.home, db=state.db)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end. Ctrl-C cancels it and arrives as `KeyboardInterrupt`."""
    return asyncio.run(coroutine)


def write_file(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; raises `InvalidInputError` when it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from error
