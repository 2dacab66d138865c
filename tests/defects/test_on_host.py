"""Defect 31: programs on the handler's host have arguments, output and an end, recorded like those in guests."""

from __future__ import annotations

from pathlib import Path

from tests.handler.harness import bodies, ended, handling, program, publish, until
from vmr.events import EntryFailed, EntryFinished, EntryStarted, OutputCaptured
from vmr.log import AsyncLog
from vmr.testing import SimulatedHost


async def test_defect_31_arguments_and_output_on_the_host(log: AsyncLog, sockets: Path, tmp_path: Path) -> None:
    """A program with arguments runs without a shell, its output is recorded, and a nonzero exit is not tried for ever."""
    entries = [
        program(-5, "/bin/echo", "'two words' > $HOME", on_host=True),
        program(-4, "/bin/sh", "-c 'echo aside >&2; exit 3'", on_host=True),
        program(-3, "/bin/sh", r"-c 'printf \\377\\n'", on_host=True),
        program(-2, "in-the-guest"),
    ]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(4, EntryFinished))
    ends = {each.entry: each.exit_code for each in bodies(events, EntryFinished)}
    assert list(ends.values()) == [0, 3, 0, 0]
    said = {(each.entry, each.stream): each.text or each.data for each in bodies(events, OutputCaptured)}
    assert said == {
        ("-5//bin/echo", "stdout"): "two words > $HOME\n",
        ("-4//bin/sh", "stderr"): "aside\n",
        ("-3//bin/sh", "stdout"): b"\xff\n",
    }
    assert len(bodies(events, EntryStarted)) == 4
    assert not bodies(events, EntryFailed)


async def test_defect_31_a_program_that_the_host_lacks_is_recorded(
    log: AsyncLog, sockets: Path, tmp_path: Path
) -> None:
    """What cannot be run ends with the code that a shell gives it, in the log, and the handler goes on."""
    entries = [program(-5, "/no/such/program", "with arguments", on_host=True), program(-4, "after")]
    async with SimulatedHost(sockets, ["a"]) as guests:
        await publish(log, guests.sockets, {"a": entries})
        async with handling(log, tmp_path / "h"):
            events = await until(log, ended(2, EntryFinished))
    assert [each.exit_code for each in bodies(events, EntryFinished)] == [127, 0]
