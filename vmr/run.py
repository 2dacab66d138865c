"""`vmr run`: one experiment from its file to its end, and on from wherever an earlier call was stopped.

Every step looks at what is recorded and does what is missing, so going on with a run is the same code as beginning it. The order:
guests, VMs and files and schedules, the launch, a handler (kept running), the end. The run's folder is named by the sequence at
which the run begins in the log; it holds the guests' record, the handler's log and the files copied out of guests.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from vmr.errors import InvalidInputError, VmrError
from vmr.eventlog import with_entries
from vmr.events import AgentAddress, ExperimentEnded, VmAdded
from vmr.experiment import Experiment, load_experiment, parse_experiment
from vmr.experiment_plan import VmPlan
from vmr.log import AsyncLog
from vmr.roster import is_full_clear
from vmr.run_guests import GuestKind, guests_of
from vmr.run_state import Outcome, RunState
from vmr.settings import Settings
from vmr.subjects import all_events, entity_subject
from vmr.supervisor import with_parent

logger = structlog.get_logger(__name__)

MOST_HANDLERS: Final = 20
_CONCLUDE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 30.0


class RunRecord(msgspec.Struct, frozen=True):
    """What a run's folder says of it: what its host needs to go on with it and the log cannot know.

    Attributes:
        experiment: path of the experiment file; names and relative paths in it begin there.
        text: the file as it was when the run began.
        guests: the kind of guests.
        host: the name under which its VMs' agents are recorded.

    """

    experiment: Path
    text: str
    guests: GuestKind
    host: str


class Watcher(Protocol):
    """Who is told how a run goes."""

    def stage(self, text: str) -> None:
        """Say what begins now."""
        ...

    def changed(self, state: RunState) -> None:
        """Say that more is recorded."""
        ...


class Finished(msgspec.Struct, frozen=True):
    """How a run ended: why, its folder, the sequence of its last event, and what was recorded."""

    outcome: Outcome
    folder: Path
    sequence: int
    state: RunState


async def find_run(log: AsyncLog) -> int:
    """Return the sequence at which the present run begins: its clearing, or 1 for the first."""
    begin = 1
    async for batch in log.read([entity_subject(log.db, "experiment", None, "cleared")]):
        for recorded in batch:
            if is_full_clear(recorded):
                begin = recorded.sequence
    return begin


async def read_run(log: AsyncLog, begin: int, host: str) -> RunState:
    """Return what is recorded of the run that begins at ``begin``, for the VMs of ``host``."""
    state = RunState(log.db, host)
    async for batch in log.read([all_events(log.db)], begin):
        for recorded in batch:
            state.apply(await with_entries(log, recorded))
    return state


def run_folder(settings: Settings, begin: int) -> Path:
    """Return the folder of the run that begins at this sequence."""
    return settings.runs_dir / str(begin)


async def begin_run(log: AsyncLog, file: Path, guests: GuestKind, *, replace: bool = False) -> Run:
    """Return a new run of an experiment file; nothing is started yet.

    Raises `vmr.errors.ExperimentFileError` for a wrong file, and `InvalidInputError` when the run before is not finished, unless
    ``replace``.
    """
    experiment = load_experiment(file)
    _check_missing(guests)
    begin = await _make_room(log, replace=replace)
    record = RunRecord(file, experiment.text, guests, socket.gethostname())
    folder = run_folder(log.settings, begin)
    _write_record(folder, record)
    return Run(log, experiment, record, folder, begin)


def _check_missing(guests: GuestKind) -> None:
    missing = guests_of(guests).missing()
    if missing:
        raise InvalidInputError(
            f"guests of kind {guests!r} need {', '.join(missing)}: run ops/packages as root, or use --guests simulated"
        )


async def _make_room(log: AsyncLog, *, replace: bool) -> int:
    """Return the sequence at which a new run begins: that of a new clearing, unless nothing has happened since the last one."""
    begin = await find_run(log)
    before = await read_run(log, begin, socket.gethostname())
    if before.events <= (1 if begin > 1 else 0):
        return begin
    if before.vms and not before.ended and not replace:
        raise InvalidInputError(
            f"the run before is not finished (database {log.db!r}): `vmr run --resume` goes on with it, --new gives it up"
        )
    await stop_guests(log.settings, begin)
    return await log.clear()


async def resume_run(log: AsyncLog) -> Run:
    """Return the present run, to go on with it. Raises `InvalidInputError` when there is none or it has ended."""
    begin = await find_run(log)
    folder = run_folder(log.settings, begin)
    record = _read_record(folder)
    if record is None:
        raise InvalidInputError(
            f"there is no run to go on with in database {log.db!r} on this host: `vmr run FILE` begins one"
        )
    state = await read_run(log, begin, record.host)
    if state.ended:
        raise InvalidInputError(f"the run in database {log.db!r} has ended: `vmr run FILE` begins another")
    return Run(log, parse_experiment(record.text, record.experiment), record, folder, begin)


def is_driven(settings: Settings, begin: int) -> bool:
    """Return whether a `vmr run` on this host drives the run that begins at this sequence."""
    try:
        with (run_folder(settings, begin) / "run.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


async def stop_guests(settings: Settings, begin: int) -> None:
    """End the guests of the run that begins at this sequence, if there are any on this host."""
    folder = run_folder(settings, begin)
    record = _read_record(folder)
    if record is not None:
        await guests_of(record.guests).stop(folder / "guests")


class Run:
    """One run of one experiment on this host."""

    def __init__(self, log: AsyncLog, experiment: Experiment, record: RunRecord, folder: Path, begin: int) -> None:
        self._log = log
        self.experiment = experiment
        self.record = record
        self.folder = folder
        self.begin = begin
        self._guests = guests_of(record.guests)

    async def drive(self, watcher: Watcher, *, keep_guests: bool = False) -> Finished:
        """Do what is left of the run and return how it ended.

        Cancelled at any moment it leaves a run that `resume_run` goes on with: guests and what runs in them stay.
        """
        with self._exclusive():
            watcher.stage(f"guests: {len(self.experiment.vms)} ({self.record.guests})")
            sockets = await self._guests.start(
                self.experiment, self.folder / "guests", lambda name, text: watcher.stage(f"{name} {text}".strip())
            )
            state = await read_run(self._log, self.begin, self.record.host)
            if not state.launched:
                watcher.stage("recording VMs, files and schedules")
                await self._publish(sockets)
            finished = await self._follow(watcher)
            if finished.outcome != "stuck":
                await self._conclude(watcher, keep_guests=keep_guests)
            return finished

    async def _conclude(self, watcher: Watcher, *, keep_guests: bool) -> None:
        from vmr.replay.seal import try_to_seal  # noqa: PLC0415 - DuckDB takes long to load, and a run begins without it

        watcher.stage("sealing the record" if keep_guests else "stopping the guests, sealing the record")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(try_to_seal(self._log, self.begin))
            if not keep_guests:
                tasks.create_task(self._guests.stop(self.folder / "guests"))

    async def _publish(self, sockets: dict[str, Path]) -> None:
        """Record everything up to the launch. Repeated after an interruption, it replaces what it recorded before."""
        for name, path in self.experiment.resources.items():
            await self._log.put_resource(path, name=name)
        await self._log.add_vms([self._added(vm, sockets) for vm in self.experiment.vms])
        await asyncio.gather(
            *(self._log.put_schedule(vm.name, vm.entries, ip=vm.ip or None) for vm in self.experiment.vms if vm.managed)
        )
        text = await self._log.put_object(self.experiment.text.encode())
        await self._log.launch(
            self.experiment.name,
            start_buffer=self.experiment.start_buffer,
            experiment=text,
            guests=self.record.guests,
            failed_vms=self.experiment.failed_vms,
        )

    def _added(self, vm: VmPlan, sockets: dict[str, Path]) -> VmAdded:
        path = vm.agent or sockets.get(vm.name)
        return VmAdded(
            server_uuid=vm.uuid,
            server_name=vm.name,
            control_ip=vm.ip,
            state="uninitialized" if vm.managed else "n/a",
            agent=None if path is None or not vm.managed else AgentAddress(self.record.host, str(path)),
        )

    async def _follow(self, watcher: Watcher) -> Finished:
        """Keep a handler running and fold what is recorded until the run is over."""
        state = RunState(self._log.db, self.record.host)
        handler = asyncio.create_task(self._keep_handler())
        over = asyncio.create_task(self._until_over(state, watcher))
        try:
            await asyncio.wait({handler, over}, return_when=asyncio.FIRST_COMPLETED)
            if handler.done():
                handler.result()
            outcome = await over
        finally:
            over.cancel()
            handler.cancel()
            await asyncio.gather(handler, over, return_exceptions=True)
        return Finished(outcome, self.folder, await self._log.last_sequence(), state)

    async def _until_over(self, state: RunState, watcher: Watcher) -> Outcome:
        changed = asyncio.Event()
        folding = asyncio.create_task(self._fold(state, changed))
        try:
            while (outcome := state.outcome(datetime.now(UTC), self.experiment.end)) is None:
                await self._next(folding, changed)
                watcher.changed(state)
            if outcome != "stuck":
                if not state.ended:
                    await self._log.publish(ExperimentEnded(reason=outcome))
                deadline = asyncio.get_running_loop().time() + _CONCLUDE_SECONDS
                while (not state.ended or state.copying()) and asyncio.get_running_loop().time() < deadline:
                    await self._next(folding, changed)
            return outcome
        finally:
            folding.cancel()
            await asyncio.gather(folding, return_exceptions=True)

    async def _fold(self, state: RunState, changed: asyncio.Event) -> None:
        async for batch in self._log.follow([all_events(self._log.db)], self.begin):
            for recorded in batch:
                state.apply(await with_entries(self._log, recorded))
            changed.set()

    @staticmethod
    async def _next(folding: asyncio.Task[None], changed: asyncio.Event) -> None:
        """Wait for the fold to go on, or for a moment, because the end may be a matter of time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
        changed.clear()
        if folding.done():
            folding.result()

    async def _keep_handler(self) -> None:
        """Keep a handler running; raise `VmrError` when it ends again and again."""
        for number in range(MOST_HANDLERS):
            with (self.folder / "handler.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *with_parent(self._handler_command()),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                await _terminate(process)
                raise
            logger.warning("the handler ended; starting it again", exit_code=code, times=number + 1)
            await asyncio.sleep(min(5.0, 0.1 * 2**number))
        raise VmrError(f"the handler ended {MOST_HANDLERS} times: see {self.folder / 'handler.log'}")

    def _handler_command(self) -> list[str]:
        settings = self._log.settings
        command = [sys.executable, "-m", "vmr", "--home", str(settings.home), "--db", settings.db]
        if settings.url is not None:
            command += ["--url", settings.url]
        return [*command, "handler", "--host", self.record.host, "--folder", str(self.folder)]

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with (self.folder / "run.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInputError(
                    "another `vmr run` drives this run already: `vmr vm mix --follow` watches it"
                ) from None
            yield


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _write_record(folder: Path, record: RunRecord) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    absolute = msgspec.structs.replace(record, experiment=record.experiment.absolute())
    (folder / "run.json").write_bytes(msgspec.json.encode(absolute, enc_hook=str))


def _read_record(folder: Path) -> RunRecord | None:
    try:
        return msgspec.json.decode(
            (folder / "run.json").read_bytes(), type=RunRecord, dec_hook=lambda kind, value: kind(value)
        )
    except FileNotFoundError:
        return None
