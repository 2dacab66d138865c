"""What simulated programs do: their timelines, how they are found, and the few words of shell that are understood."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vmr.errors import InvalidInputError
from vmr.testing import Behaviour, Output, SimulatedGuest, SimulatedProgram, load_behaviour
from vmr.testing.shell import interpret


def test_output_comes_in_order_of_time() -> None:
    """What is printed at once, later and repeatedly is one timeline; nothing comes after the end."""
    output = (Output("late", at=2), Output("tick {n}", stream="stderr", at=0.5, count=9, every=1))
    program = SimulatedProgram(duration=2, stdout="first", output=output)
    assert program.timeline() == [
        (0.0, "stdout", b"first"),
        (0.5, "stderr", b"tick 0"),
        (1.5, "stderr", b"tick 1"),
        (2, "stdout", b"late"),
    ]


@pytest.mark.parametrize(
    ("pattern", "command_line", "entry", "found"),
    [
        ("ping", "/bin/ping -c 1 10.0.0.1", "", True),
        ("/bin/ping", "/bin/ping -c 1", "", True),
        ("p?ng", "ping", "", True),
        ("* 10.0.0.*", "ping -c 1 10.0.0.1", "", True),
        ("-5/*", "anything", "-5/anything_1", True),
        ("ping", "pinger", "", False),
        ("PING", "ping", "", False),
        ("ping", "", "", False),
    ],
)
def test_programs_are_found_by_pattern(pattern: str, command_line: str, entry: str, found: bool) -> None:  # noqa: FBT001
    """Name, path, whole command line and place in the spool are matched, with upper and lower case."""
    program = SimulatedProgram(exit_code=9)
    assert (Behaviour(programs={pattern: program}).find(command_line, entry) is program) is found


def test_the_first_pattern_that_fits_is_taken() -> None:
    """The order of the file decides."""
    behaviour = Behaviour(programs={"p*": SimulatedProgram(exit_code=1), "*": SimulatedProgram(exit_code=2)})
    assert [program and program.exit_code for program in map(behaviour.find, ("ping", "ls"))] == [1, 2]


@pytest.mark.parametrize(
    ("text", "code", "duration", "output"),
    [
        ("true", 0, 0, []),
        ("false", 1, 0, []),
        ("false; exit", 1, 0, []),
        ("exit 300; echo never", 44, 0, []),
        ("echo 'a  b' c\nsleep 1.5\n/bin/echo d >&2", 0, 1.5, [(0, "stdout", b"a  b c\n"), (1.5, "stderr", b"d\n")]),
        ("sleep inf; echo never", 0, math.inf, []),
        ("head -c 3 /dev/zero", 0, 0, [(0, "stdout", bytes(3))]),
    ],
)
def test_a_few_words_of_shell(text: str, code: int, duration: float, output: list[tuple[float, str, bytes]]) -> None:
    """Each known word does what a shell's does."""
    program = interpret(text)
    assert program is not None
    assert (program.exit_code, program.duration, program.timeline()) == (code, duration, output)


@pytest.mark.parametrize(
    "text", ["ping x", "echo $HOME", "true && false", "echo 'open", "sleep long", "true; ping", "echo x > y"]
)
def test_other_shell_is_not_guessed_at(text: str) -> None:
    """What is not known is a program of which nothing is known."""
    assert interpret(text) is None


def test_a_behaviour_is_read_from_a_file(tmp_path: Path) -> None:
    """YAML as people write it."""
    path = tmp_path / "behaviour.yaml"
    path.write_text(
        "programs:\n  ping*:\n    duration: .inf\n    output: [{text: x, every: 1, count: 3}]\nlatency: 0.001\n"
    )
    program = SimulatedProgram(duration=math.inf, output=(Output("x", every=1, count=3),))
    assert load_behaviour(path) == Behaviour(programs={"ping*": program}, latency=0.001)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("progams: {}", "progams"),
        ("programs: {x: {exit_code: 256}}", "exit_code"),
        ("{", "behaviour.yaml"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_behaviour_is_named(tmp_path: Path, text: str | None, problem: str) -> None:
    """File and place are in the message."""
    path = tmp_path / "behaviour.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInputError, match=problem):
        load_behaviour(path)


def test_two_guests_share_nothing() -> None:
    """Files of one are not in the other; their boots have different identities."""
    one, other = SimulatedGuest("one"), SimulatedGuest("other")
    one.files.create("/root/x", data=b"x")
    assert not other.files.exists("/root/x")
    assert one.machine.boot_id != other.machine.boot_id


def test_a_boot_begins_with_no_process() -> None:
    """What ran is gone, and process ids begin again, so that an old one may name another program."""
    machine = SimulatedGuest().machine
    old = machine.begin(SimulatedProgram(duration=math.inf))
    assert machine.alive(old)
    before = machine.boot_id
    machine.boot()
    assert not machine.alive(old)
    assert machine.boot_id != before
    assert machine.begin(SimulatedProgram(duration=math.inf)) == old
    assert machine.alive(old)


def test_requests_in_pieces_are_one_request() -> None:
    """The agent answers when the line is complete, and each line once."""
    guest = SimulatedGuest()
    assert guest.receive(b'{"execute":"guest-') == []
    assert [answer.data for answer in guest.receive(b'ping"}\n{"execute":"guest-sync","arguments":{"id":5}}\n{')] == [
        b'{"return":{}}\n',
        b'{"return":5}\n',
    ]
