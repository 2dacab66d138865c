"""Which events of a run somebody wants, and whether one is among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeAlias

import msgspec

from vmr.events import Recorded
from vmr.query import AsOf

Types: TypeAlias = str | Sequence[str] | None
"""A pattern of event types, such as ``vm.entry_*``, or several; None for all."""


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for.

    Attributes:
        vm: name or uuid of the VM that events are about, its schedule's among them; None for all.
        types: patterns of event types; None for all.
        since: no event before this moment: the event of this sequence, or those stored after this time.
        until: no event after this moment.

    """

    vm: str | None = None
    types: tuple[str, ...] | None = None
    since: AsOf | None = None
    until: AsOf | None = None


def wanted(vm: str | None, types: Types, since: AsOf | None, until: AsOf | None) -> Wanted:
    """Return these wishes in one."""
    patterns = None if types is None else (types,) if isinstance(types, str) else tuple(types)
    return Wanted(vm, patterns, since, until)


class Vms(msgspec.Struct, frozen=True):
    """The VMs of a name or uuid: more than one, when a name was used again."""

    uuids: tuple[str, ...]
    names: tuple[str, ...]


def matching(patterns: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return those of ``known`` event types that any of ``patterns`` fits."""
    listed = tuple(patterns)
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in listed)]


class Match:
    """Whether events are of wanted types and VMs."""

    def __init__(self, types: tuple[str, ...] | None, vms: Vms | None) -> None:
        self._fits = cache(lambda name: types is None or any(fnmatchcase(name, pattern) for pattern in types))
        self._vms = vms

    def __call__(self, recorded: Recorded) -> bool:
        """Return whether this event is wanted."""
        return self._fits(recorded.event.type) and (self._vms is None or _about(recorded, self._vms))


def _about(recorded: Recorded, vms: Vms) -> bool:
    body = recorded.event.body
    uuid = getattr(body, "server_uuid", None)
    return uuid in vms.uuids if uuid is not None else getattr(body, "server_name", None) in vms.names
