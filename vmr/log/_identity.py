"""How to reach the embedded server of a folder: the port and the passwords that it keeps in ``server.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from vmr.errors import LogUnavailableError, ServerNotFoundError

FILE: Final = "server.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the embedded server of a folder.

    Attributes:
        port: TCP port on loopback.
        user: the account of the log.
        password: its password.
        system_user: the account that may ask the server about itself.
        system_password: its password.

    """

    port: int
    user: str = "vmr"
    password: str
    system_user: str = "system"
    system_password: str

    @property
    def url(self) -> str:
        """The server's address, without the credential."""
        return f"nats://127.0.0.1:{self.port}"


def read_identity(server_dir: Path) -> Identity:
    """Return how to reach the embedded server of ``server_dir``; raise `ServerNotFoundError` when none was ever started there."""
    path = server_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        raise ServerNotFoundError(f"no server was ever started in {server_dir}: start one with `vmr up`") from None
    except OSError as error:
        raise LogUnavailableError(f"{path} cannot be read: {error.strerror}; only its owner may") from error
    except msgspec.MsgspecError as error:
        raise LogUnavailableError(f"{path} is damaged ({error}): `vmr down`, remove it, `vmr up`") from error
