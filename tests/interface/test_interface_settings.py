"""Which server `hostname`, `port` and `db` mean."""

from __future__ import annotations

import pytest

from vmr.interface_settings import interface_settings
from vmr.server import EmbeddedServer
from vmr.settings import Settings, load_settings


def test_the_defaults_are_the_settings_in_force(in_force: Settings) -> None:
    """So does the embedded server by FIREWHEEL's usual arguments."""
    assert interface_settings() == interface_settings("localhost", 50051, "prod") == load_settings()
    assert interface_settings().db == in_force.db


def test_a_database_is_another_stream_of_the_same_server(in_force: Settings) -> None:
    """Any name but the default one is taken as it is."""
    assert interface_settings(db="test").db == "test"
    assert interface_settings(db="test").home == in_force.home


def test_the_embedded_server_by_its_port(in_force: Settings, server: EmbeddedServer) -> None:
    """It is the server of the settings, with their credential."""
    port = int(server.url.rpartition(":")[2])
    assert interface_settings("127.0.0.1", port) == interface_settings(port=port) == load_settings()
    assert in_force.embedded


@pytest.mark.parametrize(
    ("hostname", "port", "url"),
    [
        ("lab.example", 50051, "nats://lab.example:4222"),
        ("lab.example", 5000, "nats://lab.example:5000"),
        ("", 1, "nats://127.0.0.1:1"),
        ("2001:db8::1", 4222, "nats://[2001:db8::1]:4222"),
    ],
)
def test_another_server_by_name_and_port(in_force: Settings, hostname: str, port: int, url: str) -> None:
    """A name or a port of another server is that NATS server."""
    assert interface_settings(hostname, port).url == url
    assert not interface_settings(hostname, port).embedded
    assert in_force.embedded


def test_the_server_of_the_settings_by_its_name(in_force: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server named again keeps what the settings say of it, such as TLS."""
    monkeypatch.setenv("VMR_URL", "tls://a.example:4333,tls://b.example")
    for hostname, port in (("a.example", 4333), ("b.example", 50051), ("", 50051)):
        assert interface_settings(hostname, port) == load_settings()
    assert interface_settings("c.example").url == "nats://c.example:4222"
    assert in_force.url is None


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    """The error says what a port is."""
    with pytest.raises(ValueError, match="1 to 65535"):
        interface_settings("lab.example", port)


def test_the_start_buffer_comes_from_the_first_place_that_has_it(
    in_force: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment, configuration file, 60 seconds; what is no number of seconds is refused by name."""
    assert in_force.experiment_start_buffer_sec == load_settings().experiment_start_buffer_sec == 60
    config = tmp_path_factory.mktemp("config") / "config.toml"
    config.write_text("experiment_start_buffer_sec = 5\n")
    monkeypatch.setenv("VMR_CONFIG", str(config))
    assert load_settings().experiment_start_buffer_sec == 5
    monkeypatch.setenv("VMR_EXPERIMENT_START_BUFFER_SEC", "2.5")
    assert load_settings().experiment_start_buffer_sec == 2.5
    for wrong in ("soon", "-1", "inf", "nan"):
        monkeypatch.setenv("VMR_EXPERIMENT_START_BUFFER_SEC", wrong)
        with pytest.raises(ValueError, match="VMR_EXPERIMENT_START_BUFFER_SEC"):
            load_settings()
