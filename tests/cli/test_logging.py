"""Logs: for people on a terminal, JSON elsewhere, of libraries too."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from vmr.logging import configure_logging


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_where_nobody_looks() -> None:
    """Each record is one JSON object with time, level, logger and its fields."""
    stream = io.StringIO()
    configure_logging("info", stream)
    structlog.get_logger("vmr.test").info("server started", port=4222)
    logging.getLogger("nats").warning("slow %s", "consumer")
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["port"], ours["level"]) == ("server started", 4222, "info")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("slow consumer", "warning", "nats")


def test_readable_on_a_terminal() -> None:
    """A person sees words and not JSON."""
    stream = Terminal()
    configure_logging("info", stream)
    structlog.get_logger("vmr.test").info("server started", port=4222)
    assert "server started" in stream.getvalue()
    assert "{" not in stream.getvalue()


def test_exceptions_are_told_in_full() -> None:
    """The traceback is in the record."""
    stream = io.StringIO()
    configure_logging("info", stream)
    try:
        int("why")
    except ValueError:
        structlog.get_logger("vmr.test").exception("failed")
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]


def test_level_and_last_call_count() -> None:
    """What is below the level is not written, and a second call replaces the first."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging("debug", first)
    configure_logging("warning", second)
    structlog.get_logger("vmr.test").info("quiet")
    logging.getLogger("nats").info("quiet")
    structlog.get_logger("vmr.test").warning("loud")
    assert first.getvalue() == ""
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["loud"]
