"""Reads FIREWHEEL's schedules from the forms in which people have them, as rows per VM.

- VM to rows: ``{"host": [[start_time, executable, arguments, data, pause], …], …}``, plain or compressed (``.gz``);
- what its ``misc.print_schedule`` prints: ``{"-250": [{"name": "host", "executable": …, "arguments": …, "data": …, "pause": …}, …], …}``;
- what its store keeps of one VM: ``{"server_name": "host", "text": <pickle in base64>, …}``, or that pickle in a file of the VM's name.

``data`` is FIREWHEEL's list of dictionaries; ``pause`` is false, a number of seconds, or Infinity. Its stored forms hold pickles, which
are never loaded: `vmr.schedule_pickle` reads them without running anything.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from vmr.errors import ExperimentFileError, InvalidInputError
from vmr.schedule_entry import ScheduleEntry
from vmr.schedule_pickle import looks_pickled, read_pickled_schedule

MAX_BYTES: Final = 256 << 20
_HOW_TO_EXPORT: Final = "have FIREWHEEL print the schedules as JSON (misc.print_schedule:FILE) and import that"


class Datum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One dictionary of an entry's ``data``: content or a file to load, a path to copy out, or a resume."""

    location: str | None = None
    content: str | None = None
    filename: str | None = None
    executable: bool = False
    interval: float | None = None
    destination: str | None = None
    resume: bool = False


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One schedule entry as FIREWHEEL keeps it."""

    start_time: int | float
    executable: str | None = None
    arguments: str | list[str] | None = None
    data: list[Datum] | None = None
    pause: bool | float | None = False
    ignore_failure: bool = False
    on_host: bool = False


def read_text(source: Path) -> str:
    """Return the text of the file at ``source``, unpacked, a pickle as JSON; raise `ExperimentFileError` when it is none."""
    try:
        raw = source.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            with gzip.open(source) as stream:
                raw = stream.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ExperimentFileError(f"{source}: damaged gzip file ({error}); copy it again") from error
    except OSError as error:
        raise ExperimentFileError(f"{source}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ExperimentFileError(f"{source}: larger than {MAX_BYTES >> 20} MB; split it")
    if looks_pickled(raw):
        name = source.name.removesuffix(".gz").removesuffix(".pickle").removesuffix(".pkl")
        return json.dumps({name: _pickled_rows(raw, source)})
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExperimentFileError(
            f"{source}: byte {error.start} is not UTF-8, so it is no JSON; {_HOW_TO_EXPORT}"
        ) from error


def _pickled_rows(raw: bytes, source: Path) -> list[list[Any]]:
    try:
        return [_row_of_entry(entry) for entry in read_pickled_schedule(raw)]
    except (InvalidInputError, msgspec.ValidationError) as error:
        raise ExperimentFileError(f"{source}: {error}; {_HOW_TO_EXPORT}") from error


def _row_of_entry(entry: ScheduleEntry) -> list[Any]:
    # Through the type: what a pickle holds may be nested without an end, and is written out here.
    data = msgspec.to_builtins(msgspec.convert(entry.data, list[Datum]))
    return [
        entry.start_time,
        entry.executable,
        entry.arguments,
        data,
        entry.pause,
        entry.ignore_failure,
        entry.on_host,
    ]


def _stored_rows(text: object, source: Path) -> list[list[Any]]:
    try:
        raw = base64.b64decode(text.encode() if isinstance(text, str) else b"?", validate=True)
    except ValueError as error:
        raise ExperimentFileError(
            f"{source}: 'text' is not base64, as FIREWHEEL stores it; {_HOW_TO_EXPORT}"
        ) from error
    return _pickled_rows(raw, source)


def parse(text: str, source: Path) -> dict[str, Any]:
    """Return the JSON object in ``text``; ``source`` names it in errors (`ExperimentFileError`)."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ExperimentFileError(f"{source}: the key {twice[0]!r} is given twice in one object; names are unique")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ExperimentFileError(f"{source}:{error.lineno}: not valid JSON: {error.msg}; {_HOW_TO_EXPORT}") from error
    except RecursionError as error:
        raise ExperimentFileError(f"{source}: nested too deep for a schedule; {_HOW_TO_EXPORT}") from error
    if isinstance(value, dict) and {"server_name", "text"} <= value.keys():
        return {str(value["server_name"]): _stored_rows(value["text"], source)}
    if not isinstance(value, dict) or not value:
        raise ExperimentFileError(f"{source}: not an object of schedules by VM or by time; {_HOW_TO_EXPORT}")
    return value


def rows_by_vm(value: dict[str, Any], source: Path) -> dict[str, list[tuple[str, Any]]]:
    """Return per VM the raw rows of either form, each with its place in the file for messages."""
    for key, items in value.items():
        if not isinstance(items, list):
            raise ExperimentFileError(f"{source}: {key!r}: not a list of schedule entries; {_HOW_TO_EXPORT}")
    if not any(isinstance(item, dict) for items in value.values() for item in items):
        return {
            vm: [(f"VM {vm!r}, entry [{index}]", row) for index, row in enumerate(rows)] for vm, rows in value.items()
        }
    rows_by_vm: dict[str, list[tuple[str, Any]]] = {}
    for time, items in value.items():
        for index, item in enumerate(items):
            place = f"time {time!r}, entry [{index}]"
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise ExperimentFileError(f"{source}: {place}: no object with the VM's name; {_HOW_TO_EXPORT}")
            rows_by_vm.setdefault(item["name"], []).append((place, _row_of(time, item)))
    return rows_by_vm


def _row_of(time: str, item: dict[str, Any]) -> Any:
    try:
        number = float(time)
    except ValueError:
        return time  # reported as no row
    fields = [item.get(key) for key in ("executable", "arguments", "data", "pause")]
    return [int(number) if number.is_integer() else number, *fields]
