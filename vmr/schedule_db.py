"""`ScheduleDb`: the schedules of the VMs, stored and retrieved; and their encoding as bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from vmr.errors import ConflictError, InvalidInputError
from vmr.events import DEFAULT_SCHEDULES
from vmr.log import AsyncLog
from vmr.schedule import Entry
from vmr.schedule_codec import MAGIC, decode_schedule, encode_schedule
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_store import ClearedSchedules, ScheduleStore, StoredSchedule
from vmr.settings import load_settings
from vmr.shared_log import SharedLog

__all__ = ["MAGIC", "ScheduleDb", "ScheduleDbTimeoutError", "decode_schedule", "encode_schedule"]


class ScheduleDbTimeoutError(Exception):
    """A change of a schedule did not come through in time, because others changed it again and again."""


class ScheduleDb:
    """The schedules of the VMs, by name of the VM, in the database of the settings in force.

    A schedule is bytes. What `encode_schedule` made of `ScheduleEntry` objects is understood: handlers follow it, also while it
    changes. Other bytes are kept and returned unchanged, and a handler that meets them refuses the VM, with a word on how to encode
    a schedule; a pickle is never loaded. Every call sees what any process's finished calls wrote.

    All methods may be called by many threads at once. Every one of them raises `ConnectionError` within seconds, saying what to type,
    when the log cannot be reached.

    Args:
        cache_name: the namespace. Only the schedules in the default one are run, and cleared with an experiment.
        log: where to say what is done; default: the logger ``vmr.schedule_db``.

    Raises `RuntimeError` for a ``cache_name`` that cannot name a namespace.

    """

    def __init__(self, cache_name: str = DEFAULT_SCHEDULES, log: logging.Logger | None = None) -> None:
        self.cache_name = _namespace(cache_name)
        self.log = log or logging.getLogger(__name__)
        self._shared = SharedLog(load_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, server_name: str) -> bytes | None:
        """Return the schedule of the VM of this name exactly as it was put, None when it has none."""
        found = self._shared.run(lambda log: self._store(log).get(server_name))
        return None if found is None else found.text

    def list_all(self, pattern: str | None = None) -> list[dict[str, Any]]:
        """Return the schedules of the VMs whose names match ``pattern`` (shell wildcards; None: all), in order of the names.

        Each is a dictionary with ``server_name``, ``text`` (bytes) and ``ip`` (the address that was put with it, or None).
        """
        return [_row(found) for found in self._shared.run(lambda log: self._store(log).matching(pattern))]

    def put(self, server_name: str, text: bytes | str, vm_resources_ip: str | None, broadcast: bool = True) -> None:  # noqa: FBT001, FBT002 - the documented interface
        """Store the schedule of the VM of this name, in place of the one before.

        ``text`` is what `encode_schedule` returned, or any other bytes (a string is stored as UTF-8). ``vm_resources_ip`` is kept
        with it. ``broadcast`` makes no difference: every host reads the same log. Raises `ValueError` for bytes that begin like an
        encoded schedule and are none.
        """
        self._put([(server_name, _text(server_name, text), vm_resources_ip)])

    def batch_put(self, sched_list: Iterable[Mapping[str, Any]], broadcast: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        """Store many schedules: dictionaries with ``server_name``, ``text`` and, optionally, ``ip``.

        All are checked before any is stored; what raises `ValueError` is as with `put`, or that ``server_name`` or ``text`` is missing.
        """
        self._put([_checked(item, place) for place, item in enumerate(sched_list)])

    def _put(self, schedules: Sequence[tuple[str, bytes, str | None]]) -> None:
        self._shared.run(lambda log: self._store(log).put(schedules))
        self.log.debug("stored %d schedule(s) in %r", len(schedules), self.cache_name)

    def append(self, server_name: str, entries: Iterable[ScheduleEntry | Entry]) -> None:
        """Add ``entries`` to the schedule of the VM of this name; each runs once, also when an equal one is there already.

        Writers that do so at the same time all succeed, and no entry is lost. Raises `ScheduleDbTimeoutError` after 30 s of others
        being faster, and `ValueError` when an entry makes no sense or what is stored is no schedule of vmr's encoding.
        """
        listed = list(entries)
        try:
            self._shared.run(lambda log: self._store(log).append(server_name, listed))
        except ConflictError as error:
            raise ScheduleDbTimeoutError(str(error)) from error

    def destroy_one(self, server_name: str) -> None:
        """Remove the schedule of the VM of this name; one that is not there is no error."""
        self._shared.run(lambda log: self._store(log).remove([server_name]))

    def destroy_all(self) -> None:
        """Remove all schedules of this namespace."""
        self._shared.run(lambda log: self._store(log).clear())

    def close(self) -> None:
        """Give up this object's share in the connection; others keep theirs. Closing twice does nothing."""
        self._shared.close()

    def _store(self, log: AsyncLog) -> ScheduleStore:
        return ScheduleStore(log, self.cache_name, self._shared.kept(ClearedSchedules))


def _namespace(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise RuntimeError(f"cache_name {name!r}: a namespace of schedules has a name, such as 'schedules'")
    return name


def _row(found: StoredSchedule) -> dict[str, Any]:
    return {"server_name": found.server_name, "text": found.text, "ip": found.ip}


def _checked(item: Mapping[str, Any], place: int) -> tuple[str, bytes, str | None]:
    if missing := [key for key in ("server_name", "text") if key not in item]:
        raise InvalidInputError(f"schedule [{place}] has no {missing[0]!r}; give server_name, text and ip")
    return item["server_name"], _text(item["server_name"], item["text"]), item.get("ip")


def _text(server_name: object, text: object) -> bytes:
    """Return ``text`` as bytes (a string as UTF-8); raise `InvalidInputError` when it, or the name, is of a wrong type."""
    if not isinstance(server_name, str):
        raise InvalidInputError(f"server_name {server_name!r}: use the VM's name, a string")
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, (bytes, bytearray, memoryview)):
        raise InvalidInputError(
            f"schedule of {server_name!r}: {type(text).__name__} is not bytes; encode it with vmr.schedule_db.encode_schedule"
        )
    return bytes(text)
