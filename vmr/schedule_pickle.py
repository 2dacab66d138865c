"""Reads FIREWHEEL's pickled schedules without unpickling them (see `vmr.pickle_machine`)."""

from __future__ import annotations

from typing import Any

import msgspec

from vmr.errors import InvalidInputError
from vmr.pickle_machine import Instance, PickleMachine, kind_of
from vmr.schedule_entry import ScheduleEntry


class _Attributes(msgspec.Struct):
    """The attributes that mean something; FIREWHEEL's subclasses leave others of their own, which its handler ignores as well."""

    start_time: int | float
    ignore_failure: bool = False
    executable: str | None = None
    arguments: str | list[str] | None = None
    data: list[dict[str, Any]] | None = None
    pause: bool | float | None = False
    on_host: bool = False


def looks_pickled(data: bytes) -> bool:
    """Return whether ``data`` begins like a pickle of a list."""
    return data[:1] in {b"\x80", b"(", b"]"} or data[:5] == b"ccopy"


def read_pickled_schedule(data: bytes) -> list[ScheduleEntry]:
    """Return the entries of the pickled schedule ``data``.

    Raises `InvalidInputError`, naming what the pickle asks for and the place in it, when it is anything but a list of FIREWHEEL's
    schedule entries made of plain values.
    """
    value = PickleMachine().run(data)
    if not isinstance(value, list):
        raise InvalidInputError(f"a pickle of {kind_of(value)}, not of a list of schedule entries")
    return [_entry(item, place) for place, item in enumerate(value)]


def _entry(item: object, place: int) -> ScheduleEntry:
    if not isinstance(item, Instance):
        raise InvalidInputError(f"a pickled list with {kind_of(item)} at [{place}], where a schedule entry belongs")
    try:
        said = msgspec.convert(item.attributes, _Attributes)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidInputError(f"pickled schedule entry [{place}]: {error}") from error
    # The start time is set afterwards, because a pause may have been pickled at time zero.
    entry = ScheduleEntry(-1, said.ignore_failure)
    entry.start_time = said.start_time
    if said.executable is not None:
        entry.set_executable(said.executable, said.arguments)
    entry.data = said.data or []
    entry.pause = False if said.pause is None else said.pause
    entry.on_host = said.on_host
    return entry
