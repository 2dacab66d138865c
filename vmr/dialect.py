"""The two dialects of the spool protocol, POSIX (`vmr.spool`) and Windows (`vmr.spool_windows`), behind one type.

A guest's dialect is chosen by what its agent says of the operating system; until then it is POSIX. What runs on a handler's host is POSIX.
"""

from __future__ import annotations

from typing import Protocol

from vmr import spool, spool_windows
from vmr.agent_messages import OsInfo
from vmr.schedule import Entry
from vmr.spool import Command, GuestFile, Install, LaunchReply, Probe


class Dialect(Protocol):
    """What `vmr.spool` and `vmr.spool_windows` both have; their functions say what each is for."""

    @property
    def INCOMING(self) -> str: ...  # noqa: N802, D102 - a constant of the modules

    def working_directory(self, entry_path: str) -> str: ...  # noqa: D102
    def attempt_file(self, directory: str, attempt: int, name: str) -> str: ...  # noqa: D102
    def call_script_path(self, directory: str) -> str: ...  # noqa: D102
    def call_script(self, entry: Entry) -> str: ...  # noqa: D102
    def target_path(self, location: str, directory: str) -> str: ...  # noqa: D102
    def incoming_path(self, name: str) -> str: ...  # noqa: D102
    def unwritable(self, path: str) -> str: ...  # noqa: D102
    def content(self, text: str) -> bytes: ...  # noqa: D102
    def travels_as_text(self, data: bytes) -> bool: ...  # noqa: D102
    def path_parts(self, path: str) -> tuple[str, ...]: ...  # noqa: D102

    def preparations(self) -> list[Command]: ...  # noqa: D102
    def begin(self, run: str) -> Command: ...  # noqa: D102
    def install(self, files: list[Install]) -> Command: ...  # noqa: D102
    def launch(self, directory: str, attempt: int) -> Command: ...  # noqa: D102
    def probe(self, attempts: list[tuple[str, int]]) -> Command: ...  # noqa: D102
    def kill(self, directory: str, attempt: int) -> Command: ...  # noqa: D102
    def list_files(self, pattern: str) -> Command: ...  # noqa: D102
    def snapshot(self, path: str) -> tuple[Command, str] | None: ...  # noqa: D102

    def parse_begin(self, output: bytes) -> str: ...  # noqa: D102
    def parse_failed_installs(self, output: bytes, count: int) -> list[int]: ...  # noqa: D102
    def parse_launch(self, stdout: bytes, stderr: bytes) -> LaunchReply: ...  # noqa: D102
    def parse_probe(self, output: bytes, count: int) -> list[Probe]: ...  # noqa: D102
    def parse_list(self, output: bytes) -> list[GuestFile]: ...  # noqa: D102


POSIX: Dialect = spool
WINDOWS: Dialect = spool_windows


def dialect_of(system: OsInfo) -> Dialect:
    """Return the dialect that a guest with this operating system speaks."""
    return WINDOWS if system.windows else POSIX
