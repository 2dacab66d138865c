"""What a guest agent's replies hold, as typed data. Other fields are ignored; a missing one is a wrong reply."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

MAX_CAPTURE: Final = 16 << 20
"""Where the agent cuts captured output, in bytes for each stream."""

_Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Command(msgspec.Struct, frozen=True, rename="kebab"):
    """One command that an agent knows.

    Attributes:
        name: such as ``guest-exec``.
        enabled: whether the agent's configuration lets it run.
        success_response: whether success is answered; ``guest-shutdown`` answers only its failure.

    """

    name: str
    enabled: bool = True
    success_response: bool = True


class AgentInfo(msgspec.Struct, frozen=True):
    """The agent's own account of itself (``guest-info``)."""

    version: str
    supported_commands: tuple[Command, ...]

    def supports(self, command: str) -> bool:
        """Return whether the agent knows ``command`` and lets it run."""
        return any(known.name == command and known.enabled for known in self.supported_commands)


class OsInfo(msgspec.Struct, frozen=True, rename="kebab"):
    """The guest's operating system (``guest-get-osinfo``); empty where the guest does not say."""

    id: str = ""
    name: str = ""
    pretty_name: str = ""
    version: str = ""
    version_id: str = ""
    kernel_release: str = ""
    kernel_version: str = ""
    machine: str = ""

    @property
    def windows(self) -> bool:
        """Whether the guest is a Windows guest."""
        return self.id == "mswindows" or "Windows" in self.name


class Started(msgspec.Struct, frozen=True):
    """The reply to ``guest-exec``."""

    pid: int


class ExecStatus(msgspec.Struct, frozen=True):
    """How a program in the guest is doing (``guest-exec-status``).

    Attributes:
        exited: whether it is over; the other fields have a meaning only then.
        exit_code: its exit code, or None when a signal killed it.
        signal: the signal (or Windows exception) that killed it, or None.
        stdout: what it wrote to standard output, when that was captured.
        stderr: what it wrote to standard error, likewise.
        stdout_truncated: whether the agent kept only the first 16 MiB of standard output.
        stderr_truncated: likewise for standard error.

    """

    exited: bool
    exit_code: int | None = msgspec.field(name="exitcode", default=None)
    signal: int | None = None
    stdout: bytes = msgspec.field(name="out-data", default=b"")
    stderr: bytes = msgspec.field(name="err-data", default=b"")
    stdout_truncated: bool = msgspec.field(name="out-truncated", default=False)
    stderr_truncated: bool = msgspec.field(name="err-truncated", default=False)

    def __post_init__(self) -> None:
        # Agent 10.0 says false when it did truncate and nothing when it did not; 7.2 says the truth. Length tells both.
        if len(self.stdout) >= MAX_CAPTURE:
            msgspec.structs.force_setattr(self, "stdout_truncated", True)  # noqa: FBT003
        if len(self.stderr) >= MAX_CAPTURE:
            msgspec.structs.force_setattr(self, "stderr_truncated", True)  # noqa: FBT003


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a file (``guest-file-read``); ``eof`` says that the file ended there at that moment."""

    count: _Natural
    data: bytes = msgspec.field(name="buf-b64", default=b"")
    eof: bool = False


class Written(msgspec.Struct, frozen=True):
    """How much of a piece was written (``guest-file-write``), in bytes."""

    count: _Natural
    eof: bool = False


class Position(msgspec.Struct, frozen=True):
    """Where in a file its handle stands (``guest-file-seek``), in bytes from the start."""

    position: _Natural
    eof: bool = False


class NetworkAddress(msgspec.Struct, frozen=True):
    """One address of a network interface; ``type`` is ``ipv4`` or ``ipv6``."""

    address: str = msgspec.field(name="ip-address")
    type: str = msgspec.field(name="ip-address-type")
    prefix: int


class NetworkInterface(msgspec.Struct, frozen=True, rename="kebab"):
    """One network interface of the guest."""

    name: str
    hardware_address: str = ""
    ip_addresses: tuple[NetworkAddress, ...] = ()
