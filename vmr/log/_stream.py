"""The streams of a database: made from the definitions in ``streams/``, or checked against them.

A definition names in its metadata what an operator may change (replicas, limits); everything else has to be as it is there,
because the promises of the log rest on it. A setting that the server can still change is set right; another is an error.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import Any, Final

import msgspec
import structlog

from vmr import contract
from vmr.errors import LogUnavailableError
from vmr.log._connection import Connection
from vmr.log._wire import ApiRefusedError
from vmr.subjects import check_database, stream_name

_log = structlog.get_logger(__name__)
_NOT_FOUND: Final = 10059
_MAY_CHANGE: Final = "vmr.operator_may_change"
FIRST_RUN: Final = "vmr.first_run"
"""Metadata of a stream whose first event is not that of run 1: the number of the run."""
TRUNCATING: Final = "vmr.truncating"
"""Metadata of a stream while its beginning is removed (see `vmr.archive.truncate_log`)."""
_TRUNCATION_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int


class StreamInfo(msgspec.Struct, frozen=True):
    """What the server says of a stream."""

    config: dict[str, Any]
    state: StreamState

    @property
    def first_run(self) -> int:
        """The number of the run that the stream's first event is of: runs before it are in archives."""
        said = (self.config.get("metadata") or {}).get(FIRST_RUN, "1")
        return int(said) if said.isascii() and said.isdigit() else 1

    @property
    def truncating(self) -> bool:
        """Whether the beginning of the stream is being removed, or that was interrupted."""
        return TRUNCATING in (self.config.get("metadata") or {})


@cache
def _template(file: str) -> str:
    return (contract.streams() / file).read_text()


def definition(file: str, db: str) -> dict[str, Any]:
    """Return the stream definition in ``streams/<file>`` for database ``db``."""
    config: dict[str, Any] = msgspec.json.decode(_template(file).replace("<db>", check_database(db)))
    return config


async def stream_info(connection: Connection, name: str) -> StreamInfo | None:
    """Return what the server says of stream ``name``, or None when there is none."""
    try:
        return await connection.api(f"STREAM.INFO.{name}", answer=StreamInfo)
    except ApiRefusedError as refusal:
        if refusal.error.err_code == _NOT_FOUND:
            return None
        raise


async def open_stream(connection: Connection, file: str, db: str, *, create: bool) -> StreamInfo:
    """Return the stream that ``streams/<file>`` defines for ``db``, as it should be.

    A missing one is made when ``create`` says so. Raises `LogUnavailableError` when it is missing, or wrong in a way that the
    server cannot mend.
    """
    wanted = definition(file, db)
    info = await _untouched(connection, wanted["name"])
    if info is None and not create:
        raise LogUnavailableError(
            f"the server at {connection.address} has no database {db!r} (stream {stream_name(db)}): check VMR_DB"
        )
    if info is None:
        created = await connection.api(f"STREAM.CREATE.{wanted['name']}", wanted, answer=StreamInfo)
        _log.info("stream created", stream=wanted["name"])
        return created
    wrong = differences(wanted, info.config)
    return await _mend(connection, wanted, info, wrong) if wrong else info


async def _untouched(connection: Connection, name: str) -> StreamInfo | None:
    """Return what the server says of a stream whose beginning nobody removes at the moment."""
    deadline = time.monotonic() + _TRUNCATION_SECONDS
    while (info := await stream_info(connection, name)) is not None and info.truncating:
        if time.monotonic() > deadline:
            raise LogUnavailableError(
                f"removing the beginning of stream {name} was interrupted: `vmr log truncate` finishes it; until then nothing is "
                "recorded, and nothing is lost"
            )
        await asyncio.sleep(_LOOK_SECONDS)
    return info


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of ``wanted`` that ``found`` has otherwise, without those that an operator may change."""
    free = wanted.get("metadata", {}).get(_MAY_CHANGE, "").split()
    return {key: value for key, value in wanted.items() if key not in free and found.get(key, False) != value}


async def _mend(connection: Connection, wanted: dict[str, Any], info: StreamInfo, wrong: dict[str, Any]) -> StreamInfo:
    said = ", ".join(f"{key} is {info.config.get(key)!r} and must be {value!r}" for key, value in wrong.items())
    try:
        mended = await connection.api(f"STREAM.UPDATE.{wanted['name']}", info.config | wrong, answer=StreamInfo)
    except ApiRefusedError as refusal:
        raise LogUnavailableError(
            f"stream {wanted['name']} is no log of vmr's: {said}; the server does not change it: {refusal.error.description}"
        ) from refusal
    _log.warning("stream settings changed", stream=wanted["name"], changes=said)
    return mended
