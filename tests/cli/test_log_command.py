"""``vmr log`` against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from vmr.cli import main
from vmr.events import OutputCaptured
from vmr.log import connect
from vmr.schedule import Entry
from vmr.settings import Settings


@pytest.fixture
def vmr_log(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return ``vmr log`` over a log with seven events, as a function from arguments to lines."""
    with connect(settings=settings) as log:
        log.add_vm("u-1", "größe")
        log.add_vm("u-2", "client-2")
        log.put_schedule("client-2", [Entry("1/x", 1, executable="x")])
        log.set_vm_state("u-1", "configured", reason="all done")
        output = OutputCaptured(
            server_uuid="u-2", entry="1/x", attempt=1, stream="stdout", offset=0, size=8, data=b"\xff\x9b31m\x1b[\n"
        )
        log.publish(output)
        log.launch("test")
        log.start()
    capsys.readouterr()

    def call(*arguments: str) -> list[str]:
        code = main(["--home", str(settings.home), "--db", settings.db, "log", *arguments])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out.splitlines()

    return call


def test_events_in_order_with_names(vmr_log: Callable[..., list[str]]) -> None:
    """One line per event, with the VM's name where there is one."""
    lines = vmr_log()
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6", "7"]
    assert lines[3].split(maxsplit=3)[2:] == ["vm.state_set", 'größe            state=configured reason="all done"']
    assert "experiment.started" in lines[6]


def test_output_of_guests_is_shown_and_not_obeyed(vmr_log: Callable[..., list[str]]) -> None:
    """Bytes that steer a terminal arrive as escapes."""
    (line,) = vmr_log("--type", "vm.output_captured")
    assert line.endswith("client-2         1/x #1 stdout b'\\xff\\x9b31m\\x1b[\\n'")


def test_json_is_the_whole_event(vmr_log: Callable[..., list[str]]) -> None:
    """Sequence, subject and everything that is in the event."""
    events = [json.loads(line) for line in vmr_log("--json")]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert events[3]["body"] == {
        "type": "vm.state_set",
        "server_uuid": "u-1",
        "state": "configured",
        "reason": "all done",
    }
    assert events[3]["subject"].endswith(".vm.u-1.state_set")
    assert events[3]["version"] == 1


@pytest.mark.parametrize("vm", ["client-2", "u-2"])
def test_events_of_one_vm(vmr_log: Callable[..., list[str]], vm: str) -> None:
    """A VM is found by name or uuid; its schedule belongs to it."""
    types = [json.loads(line)["body"]["type"] for line in vmr_log("--vm", vm, "--json")]
    assert types == ["vm.added", "schedule.published", "vm.output_captured"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("vm.*", 4), ("vm.added", 2), ("experiment.*", 2), ("*.added", 2), ("*ed", 6), ("no.such", 0)],
)
def test_events_of_some_types(vmr_log: Callable[..., list[str]], pattern: str, count: int) -> None:
    """Types are matched as file names are."""
    assert len(vmr_log("--type", pattern)) == count


def test_from_a_sequence(vmr_log: Callable[..., list[str]]) -> None:
    """What came before is left out; beyond the end there is nothing."""
    assert len(vmr_log("--from", "6")) == 2
    assert vmr_log("--from", "100") == []


@pytest.mark.usefixtures("vmr_log")
def test_unknown_vm(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A VM that was never added is wrong input."""
    assert main(["--home", str(settings.home), "--db", settings.db, "log", "--vm", "client-3"]) == 2
    assert "'client-3'" in capsys.readouterr().err
