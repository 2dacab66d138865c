"""Which server and database the documented interface's ``hostname``, ``port`` and ``db`` mean.

They were FIREWHEEL's gRPC server; here they are the NATS server. Their defaults (``''``, 50051, ``'prod'``) mean the settings in
force (`vmr.settings`), so that a script which never gave them finds the server that ``vmr up`` runs; so does ``localhost`` while
that server is the embedded one.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

from vmr.errors import InvalidInputError
from vmr.log import read_identity
from vmr.settings import Settings, load_settings

DEFAULT_PORT: Final = 50051
"""FIREWHEEL's gRPC port: no NATS server's, so it stands for a port that was not given."""
DEFAULT_DB: Final = "prod"
_NATS_PORT: Final = 4222
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def interface_settings(hostname: str = "", port: int = DEFAULT_PORT, db: str = DEFAULT_DB) -> Settings:
    """Return the settings that the three arguments of the documented interface mean.

    ``hostname`` alone means NATS's usual port 4222 there, ``port`` alone this host. Raises `InvalidInputError` (a ``ValueError``).
    """
    given = None if db == DEFAULT_DB else db
    if not 0 < port < 65536:
        raise InvalidInputError(f"port {port!r}: give the NATS server's port, 1 to 65535")
    settings = load_settings(db=given)
    local = not hostname or hostname in _LOOPBACK
    if port == DEFAULT_PORT and (not hostname or (local and settings.embedded)):
        return settings
    host, port = hostname or "127.0.0.1", _NATS_PORT if port == DEFAULT_PORT else port
    if settings.embedded:
        embedded = local and (settings.server_dir / "server.json").exists()
        same = embedded and read_identity(settings.server_dir).port == port
    else:
        same = any(_is(part, host, port) for part in (settings.url or "").split(","))
    if same:  # the same server by another name: with the credential that the settings have for it
        return settings
    return msgspec.structs.replace(settings, url=f"nats://{f'[{host}]' if ':' in host else host}:{port}")


def _is(url: str, host: str, port: int) -> bool:
    parts = urlsplit(url.strip())
    return parts.hostname == host.lower() and (parts.port or _NATS_PORT) == port
