"""`vmr up`, `vmr run`, `vmr status`, `vmr down` as an operator uses them: real processes, and kill -9 to each of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.real import real_guests
from vmr.settings import Settings
from vmr.supervisor import ALLOCATION, Supervised, lock_file

EXPERIMENT = """
name: small
start_buffer: 1
vms:
  server:
    schedule:
      - {at: -5, run: "sleep 1; echo configured"}
      - {at: 1, run: "echo begun; sleep 6; echo done"}
  client-{n}:
    count: 2
    schedule:
      - {at: -3, run: "true"}
      - at: 2
        run: |-
          sleep {n}; echo '{"client": {n}}'
      - {at: 9, run: "true"}
simulate: # the simulated shell does not know quotes with braces
  "*client*1*": {duration: 1, stdout: "{\\"client\\": 1}\\n"}
  "*client*2*": {duration: 2, stdout: "{\\"client\\": 2}\\n"}
"""
ENTRIES = 8
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield an environment with a home of its own; what runs in it is stopped at the end."""
    env = {**os.environ, "VMR_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "200"}
    yield env
    vmr(env, "run", "--stop", check=False)
    vmr(env, "down", check=False)


def vmr(env: Mapping[str, str], *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, "-m", "vmr", *arguments]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


def started(env: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start one command, whose output is kept."""
    command = [sys.executable, "-m", "vmr", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def attached(env: Mapping[str, str]) -> int:
    """Return how many times a handler has taken a VM."""
    return len(vmr(env, "log", "--type", "vm.handler_attached").stdout.splitlines())


def sql(env: Mapping[str, str], statement: str) -> list[dict[str, object]]:
    """Return the rows of a statement."""
    lines = vmr(env, "sql", statement, "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def eventually(seen: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Return when ``seen`` says so; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def supervised(env: Mapping[str, str]) -> Supervised:
    """Return the supervisor and its services."""
    file = lock_file(Settings(home=Path(env["VMR_HOME"])))
    return msgspec.json.decode(file.read_bytes(), type=Supervised)


def handler(env: Mapping[str, str]) -> psutil.Process:
    """Return the handler of this home, as soon as there is one."""
    found: list[psutil.Process] = []

    def look() -> bool:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if env["VMR_HOME"] in words and "handler" in words and "setpriv" not in words[0]:
                found.append(process)
        return bool(found)

    eventually(look, "a handler")
    return found[0]


def expect_whole(env: Mapping[str, str]) -> None:
    """Assert that every entry was started and finished once, with its whole output."""
    attempts = sql(env, "SELECT server_name, entry, attempt, status, exit_code FROM attempts")
    assert len(attempts) == ENTRIES
    assert {(each["attempt"], each["status"], each["exit_code"]) for each in attempts} == {(1, "finished", 0)}
    lines = sql(env, "SELECT server_name, text FROM output_lines WHERE text <> '' ORDER BY server_name, entry, line")
    assert [each["text"] for each in lines if each["server_name"] == "server"] == ["configured", "begun", "done"]
    clients = sql(env, "SELECT server_name, json->>'client' AS n FROM output_json_lines ORDER BY 1")
    assert [(each["server_name"], each["n"]) for each in clients] == [("client-1", "1"), ("client-2", "2")]
    assert sql(env, "SELECT * FROM anomalies") == []


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Return the path of a small experiment."""
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT)
    return path


@pytest.mark.parametrize("guests", ["simulated", "agent"])
def test_a_run_from_nothing_to_its_summary(environment: dict[str, str], experiment: Path, guests: str) -> None:
    """One command starts the services, runs everything, and says what happened; the record answers afterwards."""
    if guests != "simulated":
        real_guests(guests)
    done = vmr(environment, "run", str(experiment), "--guests", guests)
    assert "everything has run" in done.stdout
    assert f"3 VMs, {ENTRIES} entries, {ENTRIES} finished" in done.stdout
    assert "Ask next" in done.stdout
    assert "vmr archive -o" in done.stdout
    expect_whole(environment)
    for statement in re.findall(r'vmr sql "(.+)"', done.stdout):
        vmr(environment, "sql", statement)
    vmr(environment, "down")
    expect_whole(environment)


def test_kill_nine_of_every_process_and_going_on(environment: dict[str, str], experiment: Path) -> None:
    """Server, projector, handler and the run itself are killed in the middle; --resume ends as if nothing had happened."""
    real_guests("agent")
    command = [sys.executable, "-m", "vmr", "run", str(experiment), "--guests", "agent"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet) as running:
        handler(environment).kill()
        eventually(lambda: "begun" in vmr(environment, "log", "--json", check=False).stdout, "the first output")
        services = supervised(environment).services
        for name in ("projector", "server", "sql"):
            os.kill(services[name], signal.SIGKILL)
        time.sleep(0.5)
        handler(environment).kill()
        time.sleep(1.0)
        running.kill()
    done = vmr(environment, "run", "--resume")
    assert f"3 VMs, {ENTRIES} entries, {ENTRIES} finished" in done.stdout
    expect_whole(environment)


def test_ctrl_c_leaves_a_run_that_can_go_on(environment: dict[str, str], experiment: Path) -> None:
    """An interrupt stops the handler in order and says how to go on; a new run is refused until then."""
    real_guests("agent")
    command = [sys.executable, "-m", "vmr", "run", str(experiment), "--guests", "agent"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        eventually(lambda: "begun" in vmr(environment, "log", "--json", check=False).stdout, "the first output")
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "vmr run --resume" in said
    refused = vmr(environment, "run", str(experiment), "--guests", "agent", check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    vmr(environment, "run", "--resume")
    expect_whole(environment)
    again = vmr(environment, "run", "--resume", check=False)
    assert again.returncode == 2
    assert "has ended" in again.stderr


FAILING = """
name: partly
start_buffer: 0
failed_vms: RULE
vms:
  good:
    schedule:
      - {at: -1, run: "true"}
      - {at: 1, run: "true"}
  "bad one":
    schedule:
      - {at: -1, run: wrong, nonzero_fails: true}
simulate:
  wrong: {exit_code: 3}
"""


def test_a_run_that_is_stuck_goes_on_without_the_vm(environment: dict[str, str], tmp_path: Path) -> None:
    """It names the VM that failed and the mend, which works as it is printed; the exit code tells that a VM failed."""
    path = tmp_path / "partly.yaml"
    path.write_text(FAILING.replace("RULE", "wait"))
    stuck = vmr(environment, "run", str(path), "--guests", "simulated", check=False)
    assert stuck.returncode == 1
    assert "it cannot start" in stuck.stdout
    assert "VM bad one failed: entry '-1/wrong' ended with exit code 3" in stuck.stdout
    mends = re.findall(r"`vmr ([^`]+)`", stuck.stdout.partition("To go on without it: ")[2])[:2]
    assert mends == ["vm waive 'bad one'", "run --resume"]
    assert "goes on with `vmr run --resume`" in vmr(environment, *shlex.split(mends[0])).stdout
    done = vmr(environment, *shlex.split(mends[1]), check=False)
    assert done.returncode == 1
    assert "everything has run" in done.stdout
    assert "ended with exit code 3 (waived)" in done.stdout
    finished = sql(environment, "SELECT entry FROM attempts WHERE server_name = 'good' AND status = 'finished'")
    assert len(finished) == 2


def test_a_run_may_go_on_without_failed_vms_by_itself(environment: dict[str, str], tmp_path: Path) -> None:
    """With that rule in the file nobody has to be asked."""
    path = tmp_path / "partly.yaml"
    path.write_text(FAILING.replace("RULE", "waive"))
    done = vmr(environment, "run", str(path), "--guests", "simulated", check=False)
    assert done.returncode == 1
    assert "everything has run" in done.stdout
    assert "(waived)" in done.stdout


def test_an_operator_ends_a_run(environment: dict[str, str], tmp_path: Path) -> None:
    """A polite kill leaves a run that goes on; the end is the end although entries are left, and stands on the record once."""
    path = tmp_path / "endless.yaml"
    path.write_text("name: endless\nstart_buffer: 0\nvms: {a: {schedule: [{at: 1, run: x}, {at: 9999, run: y}]}}\n")
    with started(environment, "run", str(path), "--guests", "simulated") as run:
        eventually(lambda: "entry_finished" in vmr(environment, "log", "--json", check=False).stdout, "an entry")
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    assert "vmr run --resume" in said
    assert "Traceback" not in said
    with started(environment, "run", "--resume") as run:
        eventually(lambda: attached(environment) == 2, "the next handler")
        vmr(environment, "end", "--reason", "seen enough")
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "an operator called it ended" in out
    ends = vmr(environment, "log", "--type", "experiment.ended").stdout.splitlines()
    assert len(ends) == 1
    assert "seen enough" in ends[0]


def test_up_status_down(environment: dict[str, str]) -> None:
    """Status tells what runs and how far the read model is; a second up refuses; down ends everything."""
    assert vmr(environment, "status", check=False).returncode == 1
    vmr(environment, "up", "--detach")
    status = json.loads(vmr(environment, "status", "--json").stdout)
    assert status["power_safe"] is True
    assert status["problem"] is None
    example = re.findall(r"```python\n(.+?)```", README.read_text(), re.DOTALL)[0]
    said = subprocess.run([sys.executable, "-c", example], env=environment, check=True, capture_output=True, text=True)
    assert "web-1" in said.stdout, "the README's example"
    second = vmr(environment, "up", check=False)
    assert second.returncode == 1
    assert "is up already" in second.stderr
    pids = list(supervised(environment).services.values())
    projector = psutil.Process(supervised(environment).services["projector"])
    assert ALLOCATION.items() <= projector.environ().items()
    vmr(environment, "down")
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert "nothing runs" in vmr(environment, "down").stderr


def test_a_wrong_experiment_file_starts_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    """The mistake is named with its line, exit code 2, and nothing is recorded."""
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\nvms:\n  a:\n    schedule:\n      - {at: 0, run: x}\n")
    refused = vmr(environment, "run", str(path), "--guests", "simulated", check=False)
    assert refused.returncode == 2
    assert f"{path}:5" in refused.stderr
    assert vmr(environment, "log", "--json").stdout == ""
