"""Where the log cannot be reached: a ConnectionError within seconds that says which it is and what to type."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmr import api, utils
from vmr.experiment_start import ExperimentStart
from vmr.server import EmbeddedServer, find_executable
from vmr.settings import Settings
from vmr.vm_mapping import VMMapping


@pytest.fixture(autouse=True)
def _within_seconds() -> Iterator[None]:
    """Fail a test that takes longer than its errors may."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 15


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


CALLS: dict[str, Callable[[], object]] = {
    "VMMapping": VMMapping,
    "ExperimentStart": ExperimentStart,
    "get_vm_states": api.get_vm_states,
    "destroy_all": api.destroy_all,
    "add_experiment_start_time": api.add_experiment_start_time,
    "vm_resource_list": api.vm_resource_list,
    "get_vm_count_not_ready": utils.get_vm_count_not_ready,
    "set_vm_state": lambda: utils.set_vm_state("u", "configured"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_server_was_ever_started(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every function and class says to start one."""
    monkeypatch.setenv("VMR_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match="vmr up"):
        CALLS[name]()


def test_connection_refused(in_force: Settings) -> None:
    """Nothing listens at the given address."""
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1.*VMR_URL"):
        VMMapping("127.0.0.1", _free_port(), in_force.db)


def test_wrong_credential(in_force: Settings, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server wants one and gets none."""
    monkeypatch.setenv("VMR_URL", server.url)
    with pytest.raises(ConnectionError, match="credential"):
        ExperimentStart(db=in_force.db)


def test_a_server_without_jetstream(tmp_path: Path) -> None:
    """A plain NATS server keeps no log."""
    port = _free_port()
    with subprocess.Popen([find_executable(), "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.PIPE) as plain:
        assert plain.stderr is not None
        assert any(b"Server is ready" in line for line in plain.stderr), tmp_path
        try:
            with pytest.raises(ConnectionError, match="JetStream"):
                VMMapping("127.0.0.1", port)
        finally:
            plain.terminate()


def test_no_projector(in_force: Settings) -> None:
    """What only the read model knows needs a projector; what the log itself says does not."""
    with VMMapping() as mapping:
        mapping.put("u1", "a")
        assert mapping.db == in_force.db
        with pytest.raises(ConnectionError, match=r"projector.*vmr up"):
            mapping.get_all()
        with pytest.raises(ConnectionError, match="projector"):
            api.get_vm_states()
        with pytest.raises(RuntimeError, match="projector"):
            utils.get_vm_count_not_ready()
        assert mapping.get("u1") is not None


def test_a_server_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object made before says so within seconds, and goes on when the server is back."""
    monkeypatch.setenv("VMR_HOME", str(tmp_path))
    server = EmbeddedServer(Settings(home=tmp_path).server_dir)
    asyncio.run(server.start(die_with_parent=True))
    try:
        mapping = VMMapping()
        mapping.put("u1", "a")
        asyncio.run(server.stop())
        with pytest.raises(ConnectionError, match="vmr up"):
            mapping.get("u1")
        api.destroy_all(ignore_grpc_connection_errors=True)
        asyncio.run(server.start(die_with_parent=True))
        vm = mapping.set_vm_state_by_uuid("u1", "configured")
        assert vm["server_name"] == "a"
        mapping.close()
    finally:
        asyncio.run(server.stop())
