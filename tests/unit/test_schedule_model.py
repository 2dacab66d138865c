"""The planner and a naive, independent simulation of its rules say the same of any schedule and any commands of operators."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.driving import ORIGIN, Drive, resume
from tests.unit.naive_schedule import Naive, Row
from vmr import events, planner
from vmr.schedule import Entry, Pause

UNIT: Final = 10
"""Times and lengths are multiples of it, and commands come in between, each at a remainder of its own: so nothing a command does
can coincide with anything that the schedule or another command does, and there is no order to argue about."""
END: Final = 80 * UNIT


Kind: TypeAlias = Literal["add", "keep", "move", "pause", "pause all", "resume", "resume all", "resume entry"]


class Command(msgspec.Struct, frozen=True):
    """What an operator does: ``names`` and ``rows`` are for schedules, ``length`` for pauses."""

    kind: Kind
    unit: int
    number: int = 0
    time: float = 0
    length: float = 0
    hold: bool = False
    keep: int = 0

    @property
    def at(self) -> int:
        """The tick at which it comes."""
        return self.unit * UNIT + 1 + self.number


def change(rows: list[Row], command: Command) -> list[Row]:
    """Return the schedule after a command: one row or two programs more, some rows less, or one moved to another time."""
    match command.kind:
        case "add":
            late = Row(f"late {command.number}", command.time, command.length, command.hold)
            more = Row(f"more {command.number}", math.copysign(UNIT, command.time), command.length)
            return [*rows, late] if late.hold else [*rows, late, more]
        case "keep":
            return [row for index, row in enumerate(rows) if command.keep >> index & 1]
        case "move" if rows:
            place = command.keep % len(rows)
            moved = rows[place]
            legal = command.time > 0 if moved.hold else (moved.time < 0) == (command.time < 0)
            return [*rows[:place], replace(moved, time=command.time), *rows[place + 1 :]] if legal else rows
    return rows


def as_entry(row: Row) -> Entry:
    """Return the schedule entry of a row."""
    time: float | Literal["-inf"] = "-inf" if row.time == -math.inf else row.time
    if row.hold:
        return Entry(id=row.name, start_time=time, pause=Pause(None if row.length == math.inf else row.length))
    return Entry(id=row.name, start_time=time, executable="x")


class Watched(Drive):
    """A driven VM whose programs take their time, and that notes what the planner says of holds."""

    def __init__(self, rows: list[Row]) -> None:
        self.lengths: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        self.rows: dict[str, Row] = {}
        self.held: set[tuple[int, str]] = set()
        self.released: set[tuple[int, str]] = set()
        self.configured: int | None = None
        self.remember(rows)
        super().__init__(*map(as_entry, rows))

    def remember(self, rows: list[Row]) -> None:
        """Know how long programs take."""
        self.lengths |= {row.name: row.length for row in rows if not row.hold}

    def _act(self, action: planner.Action) -> None:
        super()._act(action)
        now = round(self.now)
        match action:
            case planner.Launch(entry=name):
                self.ends[name] = self.now + self.lengths[name]
            case planner.BeginHold(entry=name) if not name.startswith("resume"):
                self.held.add((now, name))
            case planner.EndHold(entry=name) if not name.startswith("resume"):
                self.released.add((now, name))
            case planner.SetState(state="configured"):
                self.configured = now
            case _:
                pass

    def settle(self) -> float:
        """Do all that is to be done now; return when there is more."""
        while True:
            wake = self.step().wake
            over = [name for name, end in self.ends.items() if end <= self.now]
            if not over:
                at = math.inf if wake is None else (wake - ORIGIN).total_seconds()
                return min([at, *self.ends.values()])
            for name in over:
                del self.ends[name]
                self.finish(name)


def naively(rows: list[Row], commands: dict[int, Command], reported: int, start: int) -> Naive:
    """Simulate tick by tick."""
    naive = Naive()
    _publish(naive, rows)
    for tick in range(END + 1):
        if tick == reported:
            naive.start = start
        command = commands.get(tick)
        if command is not None and command.kind.startswith("pause"):
            naive.arrive(Row(f"operator {command.number}", -math.inf, command.length, hold=True))
        elif command is not None and command.kind.startswith("resume"):
            naive.resume()
        elif command is not None:
            rows = change(rows, command)
            _publish(naive, rows)
        naive.tick()
    return naive


def _publish(naive: Naive, rows: list[Row]) -> None:
    naive.withdraw({row.name for row in rows})
    for row in rows:
        naive.arrive(Row(row.name, row.time, row.length, row.hold))


def really(rows: list[Row], commands: dict[int, Command], reported: int, start: int) -> Watched:
    """Have the planner say what is due, and do it, from one wake-up to the next."""
    real = Watched(rows)
    wake = real.settle()
    for tick in (*sorted({*commands, reported}), END):
        while wake < tick:
            assert wake > real.now, "the planner asks to be woken in the past"
            real.now = wake
            wake = real.settle()
        real.now = tick
        if tick == reported:
            real.start(start - tick)
        if tick in commands:
            rows = _carry_out(real, rows, commands[tick])
        wake = real.settle()
    return real


def _carry_out(real: Watched, rows: list[Row], command: Command) -> list[Row]:
    length = None if command.length == math.inf else command.length
    match command.kind:
        case "pause":
            real.record(events.VmPaused(server_uuid="u", duration=length))
        case "pause all":
            real.record(events.ExperimentPaused(duration=length))
        case "resume":
            real.record(events.VmResumed(server_uuid="u"))
        case "resume all":
            real.record(events.ExperimentResumed())
        case "resume entry":
            real.append(resume(f"resume {command.number}"))
        case _:
            rows = change(rows, command)
            real.remember(rows)
            real.publish(*map(as_entry, rows), *(each for each in real.published if each.resume))
    return rows


_times = st.one_of(st.sampled_from([-30, -20, -10]), st.integers(1, 8).map(lambda n: n * UNIT))
_programs = st.tuples(_times, st.sampled_from([0, 10, 30]), st.just(value=False))
_lengths = st.sampled_from([10, 20, 50, math.inf])
_holds = st.tuples(
    st.one_of(st.just(-math.inf), st.integers(0, 8).map(lambda n: n * UNIT)), _lengths, st.just(value=True)
)
_plain = st.one_of(_programs, _programs, _holds)
_commands = st.builds(
    lambda kind, unit, plain, keep: (kind, unit, plain, keep),
    st.sampled_from([*get_args(Kind), "add", "add", "add", "add"]),
    st.integers(0, 30),
    _plain,
    st.integers(0, 255),
)


def _command(number: int, given: tuple[Kind, int, tuple[float, float, bool], int]) -> Command:
    kind, unit, (time, length, hold), keep = given
    if kind.startswith("pause") and not hold:
        length = length or 10
    return Command(kind, unit, number, time, length, hold, keep)


@settings(max_examples=200, deadline=None)
@example(
    [(-math.inf, 10, True), (0, 10, True)],
    [("add", 11, (-math.inf, 50, True), 0), ("pause", 0, (0, 50, True), 0)],
    0,
    1,
)
@example([(-30, 0, False), (-math.inf, 10, True)], [("add", 0, (-30, 0, False), 0)], 0, 1)
@example([(-math.inf, 20, True), (0, 10, True)], [("add", 1, (-math.inf, math.inf, True), 0)], 0, 1)
@example([(60, 10, True), (80, 0, False)], [("move", 4, (10, 0, False), 0), ("resume", 9, (0, 10, True), 0)], 0, 1)
@example([(30, 10, True), (80, 0, False)], [("keep", 1, (0, 10, True), 2), ("move", 6, (10, 0, False), 0)], 0, 1)
@given(
    st.lists(_plain, max_size=8),
    st.lists(_commands, max_size=7),
    st.sampled_from([0, 0, 0, 5, 20]),
    st.integers(1, 8),
)
def test_the_planner_does_what_the_rules_say(
    plain: list[tuple[float, float, bool]],
    given: list[tuple[Kind, int, tuple[float, float, bool], int]],
    reported: int,
    buffer: int,
) -> None:
    """Launches in their order, holds and their ends, and the barrier: all at the same time."""
    rows = [Row(f"e{number}", *each) for number, each in enumerate(plain)]
    commands = {each.at: each for each in (_command(number, one) for number, one in enumerate(given))}
    report = reported * UNIT + 9
    start = (reported + buffer) * UNIT
    naive = naively(rows, commands, report, start)
    real = really(rows, commands, report, start)
    assert real.launched == naive.launched
    assert real.held == {each for each in naive.held if not each[1].startswith("operator")}
    assert real.released == {each for each in naive.released if not each[1].startswith("operator")}
    assert real.configured == naive.configured
