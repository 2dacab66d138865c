"""`connect` and `connect_async`: the doors to the log."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any

from vmr.log._async import AsyncLog
from vmr.log._sync import Log
from vmr.settings import Settings, load_settings


def connect(
    *,
    url: str | None = None,
    home: str | Path | None = None,
    db: str | None = None,
    producer: str | None = None,
    create: bool = True,
    settings: Settings | None = None,
) -> Log:
    """Return a connection to the log of a database, for code without an event loop.

    ``url``, ``home`` and ``db`` go before environment and configuration file (see `vmr.settings`); ``settings`` goes before
    everything. ``producer`` says in every event who published it. Raises `ServerNotFoundError`, `CredentialError`,
    `JetStreamMissingError` or `LogUnavailableError`, saying what to type, within seconds.

    ::

        with vmr.connect() as log:
            log.add_vm("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "client-1")
            for batch in log.read():
                ...
    """
    return Log.connect(settings or load_settings(url=url, home=home, db=db), producer=producer, create=create)


class Connecting:
    """A connection that is about to be made: ``await`` it, or enter it with ``async with``."""

    def __init__(self, settings: Settings, producer: str | None, *, create: bool) -> None:
        self._settings = settings
        self._producer = producer
        self._create = create
        self._log: AsyncLog | None = None

    async def _connect(self) -> AsyncLog:
        return await AsyncLog.connect(self._settings, producer=self._producer, create=self._create)

    def __await__(self) -> Generator[Any, None, AsyncLog]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncLog:
        self._log = await self._connect()
        return self._log

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._log is not None:
            await self._log.close()


def connect_async(
    *,
    url: str | None = None,
    home: str | Path | None = None,
    db: str | None = None,
    producer: str | None = None,
    create: bool = True,
    settings: Settings | None = None,
) -> Connecting:
    """Return a connection to the log of a database, for asyncio; parameters and errors are those of `connect`.

    ::

        async with vmr.connect_async() as log:
            await log.add_vm("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "client-1")
    """
    return Connecting(settings or load_settings(url=url, home=home, db=db), producer, create=create)
