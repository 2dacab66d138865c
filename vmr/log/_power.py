"""Whether an acknowledged event survives a power failure: what the server says of itself.

``sync_interval`` is two minutes by default, so an acknowledgement alone promises little. The server reports its setting to its
system account (the embedded server's is ours) and on its monitoring port.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from vmr.errors import LogUnavailableError
from vmr.log._connection import Connection
from vmr.log._identity import read_identity
from vmr.log._wire import Address
from vmr.settings import Settings

_log = structlog.get_logger(__name__)
_MONITOR_PORT: Final = 8222


class _Config(msgspec.Struct):
    sync_interval: int = 0
    sync_always: bool = False


class _JetStream(msgspec.Struct):
    config: _Config | None = None


class _Varz(msgspec.Struct):
    server_id: str = ""
    jetstream: _JetStream | None = None


class _Reply(msgspec.Struct):
    data: _Varz


class _Server(msgspec.Struct):
    id: str = ""


class _UserInfo(msgspec.Struct):
    server: _Server


async def power_safe(connection: Connection, settings: Settings, stream: dict[str, Any]) -> bool | None:
    """Return whether the server syncs before it acknowledges, None when it does not say; log loudly unless it does."""
    report = await (_ask_embedded(settings) if settings.embedded else _ask_monitor(connection))
    config = None if report is None or report.jetstream is None else report.jetstream.config
    if config is None:
        _log.warning(
            "acknowledgements may not be power-safe: the server does not say whether it syncs",
            server=str(connection.address),
            mend="let it report on http port 8222, and set `jetstream { sync_interval: always }`",
        )
        return None
    safe = config.sync_always and stream.get("persist_mode", "default") == "default"
    if not safe:
        _log.warning(
            "ACKNOWLEDGEMENTS ARE NOT POWER-SAFE: a power failure loses acknowledged events",
            server=str(connection.address),
            sync_interval_seconds=config.sync_interval / 1e9,
            mend="set `jetstream { sync_interval: always }` in the server's configuration",
        )
    return safe


async def _ask_embedded(settings: Settings) -> _Varz | None:
    identity = read_identity(settings.server_dir)
    address = Address(servers=(identity.url,), user=identity.system_user, password=identity.system_password)
    try:
        system = await Connection.open(address, name="vmr asks whether it syncs")
        try:
            reply = await system.request("$SYS.REQ.SERVER.PING.VARZ", timeout=2.0)
        finally:
            await system.close()
        return msgspec.json.decode(reply, type=_Reply).data
    except (LogUnavailableError, msgspec.MsgspecError) as error:
        _log.debug("the server does not report", reason=str(error))
        return None


async def _ask_monitor(connection: Connection) -> _Varz | None:
    try:
        reply = await connection.request("$SYS.REQ.USER.INFO", timeout=2.0)
        wanted = msgspec.json.decode(reply, type=_UserInfo).server.id
        url = connection.client.connected_url
        host = None if url is None else urlsplit(url.geturl()).hostname
        if host is None:
            return None
        report = await asyncio.to_thread(_fetch, host)
    except (LogUnavailableError, msgspec.MsgspecError, OSError, urllib.error.URLError) as error:
        _log.debug("the server does not report", reason=str(error))
        return None
    # Another server's report at the usual port says nothing about this one.
    return report if report.server_id == wanted else None


def _fetch(host: str) -> _Varz:
    where = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{where}:{_MONITOR_PORT}/varz", timeout=1.0) as answer:
        return msgspec.json.decode(answer.read(), type=_Varz)
