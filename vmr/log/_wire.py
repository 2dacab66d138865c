"""What a connection works with: where the server is and who asks, and what can go wrong on the way."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vmr.errors import CredentialError, LogUnavailableError, ServerNotFoundError
from vmr.log._identity import read_identity
from vmr.settings import Settings


class ConnectionLostError(LogUnavailableError):
    """The server went away before it answered; the request may or may not have been done."""


class NoAnswerError(LogUnavailableError):
    """The server did not answer in time; the request may or may not have been done."""


class NobodyListensError(LogUnavailableError):
    """Nobody listens on the subject of a request."""


class ApiError(msgspec.Struct, frozen=True):
    """What JetStream says when it refuses."""

    code: int
    err_code: int = 0
    description: str = ""


class ApiRefusedError(LogUnavailableError):
    """JetStream refused a request of its interface."""

    def __init__(self, what: str, error: ApiError) -> None:
        super().__init__(f"{what}: {error.description} ({error.err_code})")
        self.error = error


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, and who asks. ``folder``: that of an embedded server."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    credentials: Path | None = None
    ca: Path | None = None
    folder: Path | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Address:
        """Return the address of the server that ``settings`` name; raise `CredentialError` for a file that is not there."""
        if settings.url is None:
            return cls._embedded(settings.server_dir)
        for name, file in (("VMR_CREDENTIALS", settings.credentials), ("VMR_CA", settings.ca)):
            if file is not None and not file.is_file():
                raise CredentialError(f"{file} does not exist: check {name}")
        servers = tuple(part.strip() for part in settings.url.split(",") if part.strip())
        return cls(servers=servers, credentials=settings.credentials, ca=settings.ca)

    @classmethod
    def _embedded(cls, folder: Path) -> Address:
        identity = read_identity(folder)
        return cls(servers=(identity.url,), user=identity.user, password=identity.password, folder=folder)

    def current(self) -> Address:
        """Return this address as it is now: an embedded server that found its port taken has moved to another."""
        if self.folder is None:
            return self
        try:
            return self._embedded(self.folder)
        except LogUnavailableError:
            return self

    def options(self) -> dict[str, Any]:
        """Return nats-py's options for this address."""
        options: dict[str, Any] = {"servers": list(self.servers)}
        if self.user is not None:
            options |= {"user": self.user, "password": self.password}
        if self.credentials is not None:
            options["user_credentials"] = str(self.credentials)
        if self.ca is not None or any(server.startswith("tls://") for server in self.servers):
            options["tls"] = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        return options

    def __str__(self) -> str:
        # A password in an address is nobody's business.
        return ", ".join(server.rpartition("@")[2] or server for server in self.servers)

    def explain(self, failures: Sequence[Exception]) -> LogUnavailableError:
        """Return the error of vmr's that says why there is no connection, and what to type.

        A server that refuses a credential says so and hangs up, so the last of ``failures`` is not always the telling one.
        """
        error = failures[-1]
        texts = [str(each).lower() for each in failures]
        if any("authorization" in text or "authentication" in text for text in texts):
            return CredentialError(
                f"the server at {self} does not accept the credential: check VMR_CREDENTIALS or the address"
            )
        if isinstance(error, ImportError):
            return CredentialError(f"a credentials file needs one more package ({error}): pip install nkeys")
        if isinstance(error, ssl.SSLError):
            return LogUnavailableError(f"no TLS with {self}: {error}; check VMR_CA")
        return ServerNotFoundError(
            f"no server answers at {self} ({str(error) or type(error).__name__}): start one with `vmr up`, "
            "or check VMR_URL"
        )
