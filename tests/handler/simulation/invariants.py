"""What must hold after every simulated experiment, read from the log and from the guests' own account of what they executed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from tests.handler.simulation.scenario import Vm
from tests.handler.simulation.world import Execution, World
from vmr.events import (
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    ExperimentStarted,
    HandlerAttached,
    OutputCaptured,
    SchedulePublished,
    VmStateSet,
)

EXIT_CODES: Final = {"zero": 0, "one": 1, "ten": 10, "file": 0}
_Key = tuple[str, int]


def violations(world: World) -> list[str]:
    """Return what does not hold; nothing when all does."""
    found = list(world.violations)
    for vm in world.scenario.vms:
        found += [f"{vm.name}: {what}" for what in _of_vm(world, vm)]
    return found


def _of_vm(world: World, vm: Vm) -> Iterator[str]:
    executions = [each for each in world.executions if each.vm == vm.name]
    history = _History(world, vm)
    yield from history.wrong
    yield from _once(executions)
    yield from _outputs(vm, executions, history)
    yield from _losses(vm, executions, history)
    yield from _order(vm, executions)
    yield from _kills(world, vm, executions)
    yield from _times(world, vm, executions)


def _once(executions: list[Execution]) -> Iterator[str]:
    seen: set[_Key] = set()
    for each in executions:
        if (each.word, each.attempt) in seen:
            yield f"{each.word} attempt {each.attempt} was executed more than once"
        seen.add((each.word, each.attempt))
        if each.missing:
            yield f"{each.word} was executed without {each.missing}"


class _History:
    """One VM's events, and what is wrong with their order by themselves."""

    def __init__(self, world: World, vm: Vm) -> None:
        self.words: dict[str, str] = {}
        self.wrong: list[str] = []
        self.started: set[_Key] = set()
        self.concluded: dict[_Key, EntryFinished | EntryFailed | EntryLost] = {}
        self.output: dict[tuple[str, int, str], bytes] = defaultdict(bytes)
        self.handlers = 0
        for recorded in world.log.records:
            body = recorded.event.body
            if getattr(body, "server_uuid", None) == vm.uuid or getattr(body, "server_name", None) == vm.name:
                self._take(body)

    def _take(self, body: object) -> None:
        match body:
            case SchedulePublished(entries=entries):
                # What has started stays what it was.
                self.words |= {each.id: each.arguments for each in entries if (each.id, 1) not in self.started}
            case EntryStarted(entry=entry, attempt=number):
                self._start((entry, number))
            case OutputCaptured():
                self._output(body)
            case EntryFinished() | EntryFailed() | EntryLost():
                self._conclude(body)
            case VmStateSet(state="failed", reason=reason):
                self.wrong.append(f"the VM failed: {reason}")
            case HandlerAttached():
                self.handlers += 1
            case _:
                pass

    def _start(self, key: _Key) -> None:
        if key in self.started:
            self.wrong.append(f"{key} is started twice")
        if key[1] > 1 and (key[0], key[1] - 1) not in self.concluded:
            self.wrong.append(f"{key} is started before the attempt before it is concluded")
        self.started.add(key)

    def _output(self, body: OutputCaptured) -> None:
        key = (body.entry, body.attempt, body.stream)
        data = body.text.encode() if body.text is not None else body.data or b""
        known = self.output[key]
        if (body.entry, body.attempt) not in self.started:
            self.wrong.append(f"{key} has output and is not started")
        if len(data) != body.size:
            self.wrong.append(f"{key}: {body.size} bytes are said to be {len(data)}")
        if body.offset != len(known):
            self.wrong.append(f"{key}: bytes at {body.offset} follow {len(known)} bytes")
        if (body.entry, body.attempt) in self.concluded:
            self.wrong.append(f"{key} has output after its end")
        self.output[key] += data

    def _conclude(self, body: EntryFinished | EntryFailed | EntryLost) -> None:
        key = (body.entry, body.attempt)
        if isinstance(body, EntryFailed):
            self.wrong.append(f"{key} failed: {body.error}")
        elif key not in self.started:
            self.wrong.append(f"{key} is concluded and was not started")
        if key in self.concluded:
            self.wrong.append(f"{key} is concluded twice: {self.concluded[key]}, {body}")
        self.concluded[key] = body


def _outputs(vm: Vm, executions: list[Execution], history: _History) -> Iterator[str]:
    by_key = {(each.word, each.attempt): each for each in executions}
    for (entry, number), end in history.concluded.items():
        execution = by_key.get((history.words[entry], number))
        if execution is None or isinstance(end, EntryFailed):
            continue
        program = vm.programs[execution.word]
        for stream, size in (("stdout", end.stdout_size), ("stderr", end.stderr_size)):
            captured, written = history.output[entry, number, stream], program.written(stream)
            if execution.interrupted or execution.killed:
                elapsed = execution.end - execution.begin
                written = b"".join(data for at, name, data in program.pieces if name == stream and at <= elapsed)
            if captured != written:
                yield f"{entry} attempt {number}: {len(captured)} bytes of {stream} captured, {len(written)} written"
            if size != len(captured):
                yield f"{entry} attempt {number}: {stream} is said to have {size} bytes, {len(captured)} captured"


def _losses(vm: Vm, executions: list[Execution], history: _History) -> Iterator[str]:
    by_key = {(each.word, each.attempt): each for each in executions}
    for (entry, number), end in history.concluded.items():
        word = history.words[entry]
        if not word:
            continue
        execution = by_key.get((word, number))
        if isinstance(end, EntryLost) and (execution is None or not execution.interrupted):
            yield f"{entry} attempt {number} is recorded as lost and was not: {end.reason}"
        if isinstance(end, EntryFinished):
            if execution is None:
                yield f"{entry} attempt {number} is recorded as finished and was never executed"
            elif execution.interrupted:
                yield f"{entry} attempt {number} is recorded as finished and was interrupted"
            elif end.exit_code != (137 if execution.killed else EXIT_CODES[vm.programs[word].end(number)]):
                yield f"{entry} attempt {number}: exit code {end.exit_code}"
    entries = {word: entry for entry, word in history.words.items() if word}
    for each in executions:
        if each.word not in entries:
            yield f"{each.word} was executed and had been replaced before it started"
        elif (entries[each.word], each.attempt) not in history.concluded:
            yield f"{each.word} attempt {each.attempt} was executed and is not concluded"


def _kills(world: World, vm: Vm, executions: list[Execution]) -> Iterator[str]:
    """Check that a program is killed because of its time-out only, and not before it is over since the start was recorded."""
    timeouts = {entry.arguments: entry.timeout for entry in vm.all_entries()}
    origin = world.clock.now().timestamp() - world.loop.time()
    starts = {
        (body.entry, body.attempt): recorded.event.time.timestamp() - origin
        for recorded in world.log.records
        if isinstance(body := recorded.event.body, EntryStarted) and body.server_uuid == vm.uuid
    }
    entries = {entry.arguments: entry.id for entry in vm.all_entries()}
    for each in executions:
        timeout = timeouts[each.word]
        if each.killed and (timeout is None or each.end < starts[entries[each.word], each.attempt] + timeout - 1e-3):
            yield f"{each.word} attempt {each.attempt} was killed before its time was over"


def _order(vm: Vm, executions: list[Execution]) -> Iterator[str]:
    initial = {entry.arguments: (entry.time, index) for index, entry in enumerate(vm.entries) if entry.arguments}
    negative = [
        (each, *initial[each.word]) for each in executions if each.word in initial and initial[each.word][0] < 0
    ]
    for index, (one, time, place) in enumerate(negative):
        for other, other_time, other_place in negative[index + 1 :]:
            if other_time < time:
                yield f"{other.word} at {other_time} was executed after {one.word} at {time}"
            elif other_time > time and other.begin < one.end:
                yield f"{other.word} at {other_time} began before {one.word} at {time} had ended"
            elif other_time == time and one.attempt == other.attempt == 1 and other_place < place:
                yield f"{other.word} and {one.word} at {time} were executed out of order"


def _times(world: World, vm: Vm, executions: list[Execution]) -> Iterator[str]:
    origin = world.clock.now().timestamp() - world.loop.time()
    starts: list[datetime] = [
        each.event.body.start_time for each in world.log.records if isinstance(each.event.body, ExperimentStarted)
    ]
    entries = {entry.arguments: entry for entry in vm.all_entries() if entry.arguments}
    positive = [each for each in executions if entries[each.word].time > 0]
    if len(starts) > 1:
        yield "the start is reported more than once"
    if positive and not starts:
        yield "entries at positive time were executed before the start"
        return
    for each in positive:
        start = starts[0].timestamp() - origin
        if each.begin < start + entries[each.word].time - 1e-3:
            yield f"{each.word} is due at {entries[each.word].time} and was executed at {each.begin - start:.3f}"
    if starts:
        initial = [
            each
            for other in world.scenario.vms
            for each in world.executions
            if each.vm == other.name and any(e.arguments == each.word and e.time < 0 for e in other.entries)
        ]
        begun = [each.word for each in initial if each.end > starts[0].timestamp() - origin + 1e-3]
        if begun:
            yield f"{begun} ended after the start"
