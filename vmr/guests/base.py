"""What every kind of guest has in common: start, find again, stop.

Guests outlive the process that started them, because a run can be gone on with by another one. So the folder's record is written
before anything depends on it, `Backend.adopt` finds what is alive, and `Backend.stop` ends exactly the folder's guests, also those
whose starter was killed before it could record them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from vmr.errors import AgentDisconnectedError, AgentTimeoutError, GuestSetupError, InvalidInputError
from vmr.guests import processes, record
from vmr.guests.readiness import until_answering
from vmr.guests.record import FolderRecord, GuestRecord, GuestSpec
from vmr.subjects import encode_token

Progress = Callable[[str, str], None]
"""Called with a guest's name ("" for all of them together) and what just happened to it."""

_CONSOLE = "console.log"


class Backend(ABC):
    """One way to have guests. Each method names a folder; everything about its guests is in there."""

    kind: ClassVar[str]

    @abstractmethod
    def missing(self) -> list[str]:
        """Return what this host lacks for such guests, as names of Debian packages or reasons; empty when all is there."""

    @abstractmethod
    def _runtime_base(self) -> Path:
        """Return where the short folder for sockets belongs."""

    @abstractmethod
    def _socket(self, runtime: Path, number: int) -> Path:
        """Return the path of a guest's agent socket."""

    @abstractmethod
    async def _prepare(self, folder: Path, known: FolderRecord, progress: Progress) -> None:
        """Make what all guests of the folder share, before any of them starts."""

    @abstractmethod
    def _launch(self, folder: Path, known: FolderRecord, guest: GuestRecord) -> processes.ProcessId:
        """Start one guest's process."""

    async def start(
        self,
        specs: Sequence[GuestSpec],
        folder: Path,
        progress: Progress | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Path]:
        """Start those guests that do not run yet, and return each one's agent socket once all agents answer.

        A guest that has died keeps its disk and is started again. ``timeout_s`` bounds the wait for the agents (default: 60 s
        and 6 s per guest). When it fails or is cancelled, the guests that this call started are ended.

        Raises `InvalidInputError` for specifications that cannot be met, `GuestSetupError` when something is missing or a guest
        does not come up; the message has the end of its console.
        """
        check_specs(specs)
        if lacks := await asyncio.to_thread(self.missing):
            raise GuestSetupError(
                f"guests of kind {self.kind!r} need: {', '.join(lacks)}; ops/packages installs packages"
            )
        tell = progress or _silent
        folder = _make(folder)
        with record.exclusive(folder):
            known = self._open(folder, specs)
            living = [process for process in known.processes() if processes.is_alive(process)]
            processes.sweep(folder, keep=living)
            try:
                await self._bring_up(folder, known, {spec.name for spec in specs}, tell, timeout_s)
            except BaseException:
                processes.sweep(folder, keep=living)
                if record.load(folder) is None:
                    record.forget(folder, known)
                raise
        return {spec.name: guest.socket for spec in specs if (guest := known.find(spec.name)) is not None}

    async def stop(self, folder: Path) -> None:
        """End the folder's guests and whatever carries its mark, and remove their sockets and disks; consoles stay.

        A folder without guests is no error. Raises `GuestError` when a process cannot be ended.
        """
        await asyncio.to_thread(self._stop, folder)

    def adopt(self, folder: Path) -> dict[str, Path]:
        """Return the agent sockets of the folder's guests that are alive now, by name."""
        known = record.load(folder.absolute())
        if known is None or known.backend != self.kind:
            return {}
        return {guest.spec.name: guest.socket for guest in known.guests if processes.is_alive(guest.process)}

    def _stop(self, folder: Path) -> None:
        folder = folder.absolute()
        if not folder.is_dir():
            processes.sweep(folder)
            return
        with record.exclusive(folder):
            known = record.load(folder)
            if known is not None:
                processes.kill(known.processes())
            processes.sweep(folder)
            for guest in known.guests if known is not None else []:
                for disk in guest.files(folder).glob("*.ext4"):
                    disk.unlink()
            record.forget(folder, known)

    def _open(self, folder: Path, specs: Sequence[GuestSpec]) -> FolderRecord:
        known = record.load(folder)
        if known is not None and known.backend != self.kind:
            raise InvalidInputError(f"{folder} has guests of kind {known.backend!r}: stop them, or take another folder")
        if known is None or not known.runtime.is_dir():
            processes.sweep(folder)  # whose sockets have gone cannot be reached any more
            runtime = record.make_runtime(self._runtime_base())
            known = FolderRecord(self.kind, runtime, [] if known is None else known.guests)
        for guest in known.guests:
            guest.socket = self._socket(known.runtime, guest.number)
        for spec in specs:
            self._enter(known, spec)
        return known

    def _enter(self, known: FolderRecord, spec: GuestSpec) -> None:
        guest = known.find(spec.name)
        if guest is None:
            number = len(known.guests)
            known.guests.append(GuestRecord(spec, number, self._socket(known.runtime, number)))
        elif guest.spec != spec and processes.is_alive(guest.process):
            raise InvalidInputError(f"guest {spec.name!r} runs with other settings ({guest.spec}): stop it first")
        else:
            guest.spec = spec

    async def _bring_up(
        self, folder: Path, known: FolderRecord, names: set[str], tell: Progress, timeout_s: float | None
    ) -> None:
        await self._prepare(folder, known, tell)
        record.save(folder, known)
        wanted = []
        for guest in known.guests:
            if guest.spec.name in names:
                wanted.append((guest, self._ensure(folder, known, guest, tell)))
                await asyncio.sleep(0)
        bound = 60 + 6 * len(wanted) if timeout_s is None else timeout_s
        try:
            async with asyncio.TaskGroup() as group:
                for guest, process in wanted:
                    group.create_task(_await_agent(folder, guest, process, bound, tell))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _ensure(self, folder: Path, known: FolderRecord, guest: GuestRecord, tell: Progress) -> processes.ProcessId:
        """Return the guest's process, after starting it when it does not run."""
        if guest.process is None or not processes.is_alive(guest.process):
            guest.files(folder).mkdir(exist_ok=True)
            guest.process = self._launch(folder, known, guest)
            record.save(folder, known)
            tell(guest.spec.name, "started")
        return guest.process

    def _marks(self, folder: Path, name: str) -> dict[str, str]:
        return {
            processes.FOLDER_MARK: str(folder.resolve()),
            processes.NAME_MARK: name,
            processes.BACKEND_MARK: self.kind,
        }


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


async def _await_agent(
    folder: Path, guest: GuestRecord, process: processes.ProcessId, timeout_s: float, tell: Progress
) -> None:
    try:
        await until_answering(guest.socket, process, timeout_s)
    except (AgentDisconnectedError, AgentTimeoutError) as error:
        console = console_log(folder, guest)
        end = console.read_bytes()[-2000:].decode(errors="replace").strip() if console.exists() else ""
        raise GuestSetupError(f"guest {guest.spec.name!r}: {error}\nend of {console}:\n{end}") from error
    tell(guest.spec.name, "ready")


def console_log(folder: Path, guest: GuestRecord) -> Path:
    """Return the file with a guest's console and its process's own complaints."""
    return guest.files(folder) / _CONSOLE


def hostname(name: str) -> str:
    """Return the hostname for a guest of this name: its letters, digits and hyphens, at most 63 (RFC 1123)."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:63].strip("-") or "guest"


def check_specs(specs: Sequence[GuestSpec]) -> None:
    """Raise `InvalidInputError` unless names and addresses are unique and every value is usable."""
    names: set[str] = set()
    addresses: set[object] = set()
    for spec in specs:
        if spec.name in names:
            raise InvalidInputError(f"guest {spec.name!r} is there twice: give every guest its own name")
        encode_token(spec.name)
        if "\0" in spec.name:
            raise InvalidInputError(f"guest {spec.name!r}: a name cannot have a NUL character")
        if spec.memory_mb < 96:
            raise InvalidInputError(f"guest {spec.name!r}: memory_mb is {spec.memory_mb}; a guest needs 96 at least")
        names.add(spec.name)
        if spec.address is not None:
            address = _interface(spec).ip
            if address in addresses:
                raise InvalidInputError(f"guest {spec.name!r}: address {spec.address} is another guest's as well")
            addresses.add(address)


def _interface(spec: GuestSpec) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    address, slash, prefix = str(spec.address).partition("/")
    try:
        return ipaddress.ip_interface(f"{address}/{prefix if slash else 'missing'}")
    except ValueError:
        raise InvalidInputError(
            f"guest {spec.name!r}: {spec.address!r} is no address with a prefix; write it like 10.0.0.2/24"
        ) from None


def _silent(name: str, happened: str) -> None:
    """Tell nobody."""
