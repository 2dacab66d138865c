"""``vmr vm``: list and mix, over a real projector."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from vmr.cli import main
from vmr.cli.vm import count_states, parse_fields
from vmr.errors import InvalidInputError
from vmr.log import Log
from vmr.settings import Settings


def add_vms(log: Log) -> None:
    """Record three VMs in different states."""
    log.add_vm("u-1", "server", control_ip="10.0.0.1", state="configured", current_time="5")
    log.add_vm("u-2", "client-1", control_ip="10.0.0.2", state="configuring", current_time="-10")
    log.add_vm("u-3", "client-2", state="uninitialized")


def test_list_in_firewheels_words(served_log: Log, vmr: Callable[..., str]) -> None:
    """Title, columns, count, and time as FIREWHEEL shows it."""
    add_vms(served_log)
    out = vmr("vm", "list", "state", "time", "ip")
    assert "Current VMs" in out
    assert out.endswith("Found 3 VMs\n")
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]
    assert rows == [
        ["server", "configured", ":)", "10.0.0.1"],
        ["client-1", "configuring", "-10", "10.0.0.2"],
        ["client-2", "uninitialized", "N/A", ""],
    ]


def test_list_for_programs(served_log: Log, vmr: Callable[..., str]) -> None:
    """CSV and JSON lines hold the values themselves."""
    add_vms(served_log)
    rows = list(csv.reader(io.StringIO(vmr("vm", "list", "uuid", "time", "--csv"))))
    assert rows == [
        ["name", "uuid", "time"],
        ["server", "u-1", "5"],
        ["client-1", "u-2", "-10"],
        ["client-2", "u-3", ""],
    ]
    lines = [json.loads(line) for line in vmr("vm", "list", "state=config", "name=CLIENT", "--json").splitlines()]
    assert lines == [{"name": "client-1", "state": "configuring"}]


def test_mix_counts_states(served_log: Log, vmr: Callable[..., str]) -> None:
    """FIREWHEEL's columns and footer; JSON for programs."""
    add_vms(served_log)
    served_log.set_vm_state("u-3", "configured")
    out = vmr("vm", "mix")
    for words in ("VM Resource State", "Count", "configured", "configuring", "Total Scheduled"):
        assert words in out
    lines = [json.loads(line) for line in vmr("vm", "mix", "--json").splitlines()]
    assert lines == [{"state": "configured", "count": 2}, {"state": "configuring", "count": 1}]


def test_mix_follows_without_being_asked(served_log: Log, vmr_arguments: Callable[..., list[str]]) -> None:
    """A change of state is on the screen when it is in the log."""
    add_vms(served_log)
    environment = os.environ | {"TTY_COMPATIBLE": "1", "COLUMNS": "80"}
    with subprocess.Popen(
        vmr_arguments("vm", "mix", "--follow"), stdout=subprocess.PIPE, text=True, env=environment
    ) as following:
        assert following.stdout is not None
        for line in following.stdout:
            if "Total Scheduled" in line:
                break
        served_log.set_vm_state("u-1", "failed")
        for line in following.stdout:
            if "failed" in line:
                break
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=20)
    assert following.returncode == 130


def test_following_is_for_tables(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Who wants a stream is told the command for it."""
    assert main(["--home", str(settings.home), "--db", settings.db, "vm", "mix", "--follow", "--json"]) == 2
    assert "vmr log --follow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "shown", "filters"),
    [
        ([], ["name", "state", "time"], []),
        (["uuid"], ["name", "uuid"], []),
        (["name=a"], ["name"], [("name", "a")]),
        (["state=a", "state=b", "ip"], ["name", "state", "ip"], [("state", "a"), ("state", "b")]),
        (["state=a=b"], ["name", "state"], [("state", "a=b")]),
    ],
)
def test_fields(words: list[str], shown: list[str], filters: list[tuple[str, str]]) -> None:
    """The name comes first; a filter's field is shown."""
    assert parse_fields(words) == (shown, filters)


def test_unknown_field() -> None:
    """A field that VMs do not have is wrong, with the nearest one that they have."""
    with pytest.raises(InvalidInputError, match="did you mean 'state'"):
        parse_fields(["stat"])


def test_states_are_counted_in_a_fixed_order() -> None:
    """Most frequent first, then by name."""
    vms = [{"state": state} for state in ("b", "a", "c", "c")]
    assert count_states(vms) == [("c", 2), ("a", 1), ("b", 1)]
