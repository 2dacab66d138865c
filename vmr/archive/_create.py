"""Taking an archive from the log: in constant memory, from a run that goes on or is over, and on after an interruption.

Finished parts wait in the folder ``FILE.part`` beside the archive. A call that is interrupted (Ctrl-C, a lost server, a crash) leaves
it, and the next call for the same run goes on behind the last part that is whole. When something makes going on pointless, such as a
full disk, the folder is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from vmr.archive._assemble import Contents, assemble
from vmr.archive._chain import BEGIN
from vmr.archive._folder import ASSEMBLED, Plan, check_target, working_folder
from vmr.archive._manifest import FORMAT, Manifest
from vmr.archive._messages import connect, rows
from vmr.archive._parts import PART_BYTES, PART_EVENTS, Finished
from vmr.archive._read import Tell
from vmr.archive._refs import Refs
from vmr.archive._writer_process import Begin, PartsMaker, make_parts
from vmr.errors import DataError, InvalidInputError
from vmr.events import ResourceRemoved, ResourceUploaded
from vmr.log import AsyncLog
from vmr.log._feed import Feed
from vmr.schedule import Entry, ObjectRef
from vmr.subjects import ROOT, stream_name

if TYPE_CHECKING:
    from vmr.record import Run

Say = Callable[[str], None]
"""Is told what begins now."""

_entries: Final = msgspec.json.Decoder(tuple[Entry, ...])


async def create_archive(
    log: AsyncLog,
    wanted: str | None,
    path: Path,
    *,
    until: int | None = None,
    tell: Tell | None = None,
    say: Say | None = None,
    part_events: int = PART_EVENTS,
    part_bytes: int = PART_BYTES,
) -> Manifest:
    """Write the run that ``wanted`` names (a number, a name, None for the current one) to a new archive at ``path``.

    It holds what is recorded now, or up to the sequence ``until``. ``tell`` and ``say`` are told how it goes. Raises
    `InvalidInputError` (no such run, a file that is there or cannot be written, a full disk), `DataError` when the log does not have the
    run any more, and `LogUnavailableError`; after the last, and after a cancellation, the next call goes on where this one was.
    """
    from vmr.record import run_of  # noqa: PLC0415 - records are read from archives, too

    check_target(path)
    run = await run_of(log, wanted)
    last = run.last_seq if until is None else until
    if not run.first_seq <= last <= run.last_seq:
        raise InvalidInputError(
            f"run {run.run} has the events {run.first_seq} to {run.last_seq}: {last} is none of them"
        )
    begins, _ = await log.beginning()
    if run.first_seq < begins:
        raise DataError(
            f"the log begins with event {begins:,}: run {run.run}, which begins with {run.first_seq:,}, was removed from it "
            "(`vmr log truncate`) and is in an archive"
        )
    plan = Plan(FORMAT, log.db, run.run, run.first_seq, part_events, part_bytes)
    with working_folder(path, plan) as folder:
        work = _Work(log, run, last, folder, plan, tell or _silent, say or _mute)
        await work.read_events()
        await work.fetch_objects()
        (say or _mute)("writing the archive")
        manifest = await asyncio.to_thread(assemble, folder, work.contents())
        (folder / ASSEMBLED).replace(path)
        await asyncio.to_thread(shutil.rmtree, folder)
    return manifest


def _silent(_done: int, _all: int) -> None:
    pass


def _mute(_text: str) -> None:
    pass


class _Work:
    """One archive on its way from the log to a file."""

    def __init__(self, log: AsyncLog, run: Run, last: int, folder: Path, plan: Plan, tell: Tell, say: Say) -> None:
        self._log = log
        self._run = run
        self._last = last
        self._folder = folder
        self._plan = plan
        self._tell = tell
        self._say = say
        self._parts: list[Finished] = []
        self._refs = Refs()
        self._missing: list[ObjectRef] = []
        self._resources: dict[str, ObjectRef] = {}

    async def read_events(self) -> None:
        """Have every event in a part."""
        self._say("events")
        self._parts = await asyncio.to_thread(self._found)
        await self._check_found()
        first = self._parts[-1].part.last + 1 if self._parts else self._run.first_seq
        if first > self._last:
            return
        head = bytes.fromhex(self._parts[-1].part.after) if self._parts else BEGIN
        begin = Begin(
            folder=str(self._folder / "events"),
            first=first,
            run=self._run.run,
            head=head,
            events=self._plan.part_events,
            size=self._plan.part_bytes,
        )
        maker = await make_parts(begin, self._last)
        try:
            await self._make(maker, first)
        finally:
            await maker.close()

    async def _make(self, maker: PartsMaker, first: int) -> None:
        done = first - 1
        async with aclosing(self._feed(first).batches(stop=self._last)) as batches:
            async for batch in batches:
                self._keep(await maker.add(batch))
                done = batch[-1].sequence
                self._tell(done - self._run.first_seq + 1, self._last - self._run.first_seq + 1)
        if done != self._last:
            raise DataError(f"the log of {self._log.db!r} ends at event {done}, before {self._last}")
        self._keep(await maker.finish())

    def _found(self) -> list[Finished]:
        """Return the parts that an earlier call has finished, as far as they are whole and follow on one another."""
        found: list[Finished] = []
        expected = self._run.first_seq
        folder = self._folder / "events"
        notes = {int(note.stem.partition("-")[0]): note for note in folder.glob("*.json")}
        while (note := notes.pop(expected, None)) is not None:
            finished = _read_note(note)
            if finished is None or finished.part.last > self._last:
                break
            found.append(finished)
            expected = finished.part.last + 1
        wanted = {Path(one.part.name).stem for one in found}
        for file in folder.iterdir():
            if file.stem not in wanted:
                file.unlink()
        return found

    async def _check_found(self) -> None:
        """Do not go on with the parts of a log that has been made anew since."""
        if not self._parts:
            return
        last = self._parts[-1].part
        feed = self._feed(last.last)
        async with aclosing(feed.batches(stop=last.last)) as batches:
            found = [raw async for batch in batches for raw in batch]
        before = _last_message(self._folder / "events" / Path(last.name).name)
        if [(raw.sequence, raw.data) for raw in found] != [before]:
            raise InvalidInputError(
                f"{self._folder} holds the beginning of an archive of another log: remove it, and begin again"
            )

    def _feed(self, start: int) -> Feed:
        return Feed(self._log.connection, stream_name(self._log.db), None, start)

    def _keep(self, parts: Sequence[Finished]) -> None:
        """Note parts that are on disk, for this call and for the next."""
        for finished in parts:
            note = (self._folder / "events" / Path(finished.part.name).name).with_suffix(".json")
            unfinished = note.with_suffix(".unfinished")
            unfinished.write_bytes(msgspec.json.encode(finished))
            unfinished.replace(note)
            self._parts.append(finished)

    async def fetch_objects(self) -> None:
        """Have every object that the events refer to, as far as the log has it."""
        for finished in self._parts:
            self._refs.merge(finished.refs)
        self._say("objects")
        for sha256, size in self._refs.schedules.items():
            if await self._fetch(ObjectRef(sha256, size)):
                self._refs.add_entries(self._entries(sha256))
        self._resources = await self._earlier_resources()
        self._refs.take_resources(self._resources)
        for done, (sha256, size) in enumerate(self._refs.objects.items(), 1):
            if sha256 not in self._refs.schedules:
                await self._fetch(ObjectRef(sha256, size))
            self._tell(done, len(self._refs.objects))

    async def _earlier_resources(self) -> dict[str, ObjectRef]:
        """Return the files that schedules name and that were put into the resource store before the run: clearing leaves them there."""
        wanted = self._refs.named - self._refs.uploaded
        found: dict[str, ObjectRef] = {}
        if wanted:
            async for batch in self._log.read([f"{ROOT}.{self._log.db}.resource.>"], stop=self._run.first_seq - 1):
                for body in (recorded.event.body for recorded in batch):
                    if isinstance(body, ResourceUploaded) and body.name in wanted:
                        found[body.name] = body.object
                    elif isinstance(body, ResourceRemoved):
                        found.pop(body.name, None)
        return found

    def _entries(self, sha256: str) -> tuple[Entry, ...]:
        try:
            return _entries.decode((self._folder / "objects" / sha256).read_bytes())
        except msgspec.MsgspecError:
            return ()

    async def _fetch(self, ref: ObjectRef) -> bool:
        target = self._folder / "objects" / ref.sha256
        if target.exists() and target.stat().st_size == ref.size:
            return True
        try:
            await self._log.fetch_object(ref, target)
        except DataError:
            self._missing.append(ref)
            return False
        return True

    def contents(self) -> Contents:
        """Return what goes into the archive."""
        return Contents(
            database=self._log.db,
            run=self._run,
            last=self._last,
            parts=self._parts,
            refs=self._refs,
            missing=tuple(self._missing),
            resources=self._resources,
        )


def _read_note(note: Path) -> Finished | None:
    """Return the part that ``note`` tells of; None when it is not whole."""
    try:
        finished = msgspec.json.decode(note.read_bytes(), type=Finished)
        with note.with_suffix(".parquet").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (msgspec.MsgspecError, FileNotFoundError):
        return None
    return finished if digest == finished.part.sha256 else None


def _last_message(path: Path) -> tuple[int, bytes]:
    """Return sequence and message of the last event in the part at ``path``."""
    last = (0, b"")
    with contextlib.closing(connect()) as connection:
        for batch in rows(connection, path):
            last = (batch[-1][0], batch[-1][3])
    return last
