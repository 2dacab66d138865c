"""The experiments that vmr brings along."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmr.experiment import load_experiment
from vmr.testing.programs import Behaviour

EXPERIMENTS = Path(__file__).resolve().parents[2] / "ops" / "experiments"
SCRIPTS = EXPERIMENTS / "simple-server" / "files"
FILES = sorted(EXPERIMENTS.rglob("*.yaml"))


def run(folder: Path, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the tutorial's scripts in ``folder``."""
    command = ["/bin/sh", str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the tutorial's server over ``folder/www`` until it is stopped."""
    arguments = [str(port), *(str(folder / name) for name in ("www", "log/access.log", "pid"))]
    with subprocess.Popen(
        ["/bin/sh", str(SCRIPTS / "serve.sh"), *arguments], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert "serving" in server.stdout.readline()
            yield server
        finally:
            server.terminate()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_there_are_examples() -> None:
    """The checks below look at something."""
    assert {path.name for path in FILES} >= {"hello.yaml", "experiment.yaml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EXPERIMENTS)))
def test_example_is_right_and_simulates(path: Path) -> None:
    """Every example passes all checks, and says what each of its programs does on a simulated guest."""
    experiment = load_experiment(path)
    behaviour = Behaviour(programs=experiment.simulate)
    programs = [entry for vm in experiment.vms for entry in vm.entries if entry.executable is not None]
    assert programs
    for entry in programs:
        assert behaviour.find(f"{entry.executable} {entry.arguments}", entry.id) is not None, entry.id


def test_tutorial_reboots_once(tmp_path: Path) -> None:
    """The first run asks for a reboot, the next one is content."""
    assert run(tmp_path, "reboot-once.sh").returncode == 10
    assert run(tmp_path, "reboot-once.sh").returncode == 0


def test_tutorial_serves_fetches_and_stops(tmp_path: Path) -> None:
    """The scripts work together: a file is made, served and fetched, the client says so in one line of JSON, the server ends."""
    port = free_port()
    assert run(tmp_path, "make-file.sh", tmp_path / "www" / "file.bin", "300000").returncode == 0
    with serving(tmp_path, port) as server:
        url = f"http://127.0.0.1:{port}/file.bin"
        answer = run(tmp_path, "fetch.sh", "client-1", url)
        for _ in range(20):  # the server has said so before it listens
            if answer.returncode == 0:
                break
            answer = run(tmp_path, "fetch.sh", "client-1", url)
        assert run(tmp_path, "stop-server.sh", tmp_path / "pid").returncode == 0
        assert server.wait(10) == 0
    (line,) = answer.stdout.splitlines()
    said = json.loads(line)
    assert (said["client"], said["bytes"]) == ("client-1", 300_000)
    assert 0 <= said["time"] < 30
    assert "file.bin" in (tmp_path / "log" / "access.log").read_text(encoding="utf-8")


def test_tutorial_client_without_server_fails(tmp_path: Path) -> None:
    """A fetch that does not succeed prints no result and ends with an error."""
    answer = run(tmp_path, "fetch.sh", "client-1", f"http://127.0.0.1:{free_port()}/file.bin")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "cannot fetch" in answer.stderr
