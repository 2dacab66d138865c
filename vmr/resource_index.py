"""Which files a resource store holds, as the log says: a fold that is brought up to date at every look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from vmr.events import Recorded, ResourceRemoved, ResourceUploaded
from vmr.log import AsyncLog, last_events
from vmr.schedule import ObjectRef
from vmr.subjects import entity_subject


class Resource(msgspec.Struct, frozen=True):
    """A file in a resource store.

    Attributes:
        name: its name in the store.
        object: its content.
        uploaded: when (UTC).

    """

    name: str
    object: ObjectRef
    uploaded: datetime


class ResourceIndexes:
    """The folds of the resource stores of one connection, which all its users share. Belongs to the connection's loop."""

    def __init__(self) -> None:
        self._indexes: dict[str, ResourceIndex] = {}

    async def files(self, log: AsyncLog, store: str) -> Mapping[str, Resource]:
        """Return the files of ``store`` by name, as they are now: with whatever any process's finished call did."""
        return await self._indexes.setdefault(store, ResourceIndex(store)).files(log)


class ResourceIndex:
    """The fold of one resource store."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._files: dict[str, Resource] = {}
        self._position = 0
        self._guard = asyncio.Lock()

    async def files(self, log: AsyncLog) -> Mapping[str, Resource]:
        """Return the files by name, as they are now."""
        subjects = [entity_subject(log.db, "resource", self._store, event) for event in ("uploaded", "removed")]
        last = max((each.sequence for each in await last_events(log, subjects) if each is not None), default=0)
        async with self._guard:
            if last > self._position:
                async for batch in log.read(subjects, self._position + 1, last):
                    for recorded in batch:
                        self._apply(recorded)
                self._position = last
            return MappingProxyType(dict(self._files))

    def _apply(self, recorded: Recorded) -> None:
        match recorded.event.body:
            case ResourceUploaded(name=name, object=ref):
                self._files[name] = Resource(name, ref, recorded.event.time)
            case ResourceRemoved(name=name):
                self._files.pop(name, None)
            case _:
                pass
