"""Which server, home folder and database a command or a connection uses.

Each value is taken from the first place that has it: the caller's argument, the environment (``VMR_URL``, ``VMR_HOME``,
``VMR_DB``, ``VMR_CREDENTIALS``, ``VMR_CA``, ``VMR_EXPERIMENT_START_BUFFER_SEC``), the configuration file (TOML, the same names in
lower case without ``vmr_``), the default. The configuration file is ``$VMR_CONFIG`` or ``vmr/config.toml`` in the user's
configuration folder; ``vmr status`` prints which one was read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs

from vmr.errors import InvalidInputError
from vmr.subjects import check_database


class _ConfigFile(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None
    home: str | None = None
    db: str | None = None
    credentials: str | None = None
    ca: str | None = None
    experiment_start_buffer_sec: float | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where vmr works.

    Attributes:
        home: folder of the embedded server, the read models, the runs and the local copies of resources.
        db: name of the database; its events are in the stream ``VMR_<db>``.
        url: address of a NATS server (``nats://…`` or ``tls://…``); None means the embedded server of ``home``.
        credentials: path of a NATS credentials file for ``url``, or None.
        ca: path of the certificate authority that signed the server's certificate, or None for the system's.
        experiment_start_buffer_sec: seconds between the report that every VM is ready and the start which that reports.
        config_file: the configuration file that was read, or None when there is none.

    """

    home: Path
    db: str = "prod"
    url: str | None = None
    credentials: Path | None = None
    ca: Path | None = None
    experiment_start_buffer_sec: float = 60.0
    config_file: Path | None = None

    @property
    def embedded(self) -> bool:
        """Whether the server is the one that ``vmr up`` runs in ``home``."""
        return self.url is None

    @property
    def server_dir(self) -> Path:
        """Folder of the embedded server."""
        return self.home / "server"

    @property
    def database_dir(self) -> Path:
        """Folder of this database's read models and runs."""
        return self.home / "db" / self.db

    @property
    def runs_dir(self) -> Path:
        """Folder with one folder per run: guests' sockets and consoles, the handler's log, files copied out of guests."""
        return self.database_dir / "runs"


def load_settings(
    *,
    url: str | None = None,
    home: str | Path | None = None,
    db: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings in force (see the module's text for the order of places).

    Raises `InvalidInputError`, naming the place and the mend, when a value or the configuration file is wrong.
    """
    env = os.environ if environment is None else environment
    path = Path(env["VMR_CONFIG"]) if env.get("VMR_CONFIG") else platformdirs.user_config_path("vmr") / "config.toml"
    file = _read_config(path, required=bool(env.get("VMR_CONFIG")))

    def pick(given: str | Path | None, name: str, fallback: str | None) -> str | None:
        return str(given) if given is not None else env.get(name) or fallback

    found_home = pick(home, "VMR_HOME", None if file is None else file.home)
    credentials = pick(None, "VMR_CREDENTIALS", None if file is None else file.credentials)
    ca = pick(None, "VMR_CA", None if file is None else file.ca)
    buffer = env.get("VMR_EXPERIMENT_START_BUFFER_SEC") or (None if file is None else file.experiment_start_buffer_sec)
    return Settings(
        home=Path(found_home).expanduser().absolute() if found_home else platformdirs.user_data_path("vmr"),
        db=check_database(pick(db, "VMR_DB", None if file is None else file.db) or "prod"),
        url=pick(url, "VMR_URL", None if file is None else file.url),
        credentials=Path(credentials).expanduser() if credentials else None,
        ca=Path(ca).expanduser() if ca else None,
        experiment_start_buffer_sec=60.0 if buffer is None else _seconds(buffer),
        config_file=None if file is None else path,
    )


def _seconds(value: str | float) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidInputError(
            f"experiment_start_buffer_sec (VMR_EXPERIMENT_START_BUFFER_SEC) is {value!r}: give seconds, 0 or more"
        )
    return seconds


def _read_config(path: Path, *, required: bool) -> _ConfigFile | None:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_ConfigFile)
    except FileNotFoundError:
        if required:
            raise InvalidInputError(
                f"VMR_CONFIG names {path}, which does not exist: create it or unset VMR_CONFIG"
            ) from None
        return None
    except OSError as error:
        raise InvalidInputError(f"configuration file {path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInputError(
            f"configuration file {path}: {error}; known keys: url, home, db, credentials, ca, "
            "experiment_start_buffer_sec"
        ) from error
