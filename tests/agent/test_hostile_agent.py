"""A guest whose agent lies: every lie is a `GuestError`, and costs no more memory than an honest answer."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from vmr.agent import GuestAgent
from vmr.errors import AgentTimeoutError, GuestError

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Liar:
    """An agent that synchronizes honestly and answers each other command with what a test has set for it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, Answer] = {"guest-file-open": b"1000", "guest-file-close": b"{}"}
        self.unasked: list[bytes] = []
        self.synchronizations = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        while line := await reader.readline():
            request = json.loads(line.removeprefix(b"\xff"))
            if request["execute"] == "guest-sync-delimited":
                self.synchronizations += 1
                unasked = self.unasked.pop() if self.unasked else b""
                writer.write(b'\xff{"return":%d}\n' % request["arguments"]["id"] + unasked)
                continue
            answer = self.answers[request["execute"]]
            if isinstance(answer, bytes):
                writer.write(b'{"id":"%s","return":%s}\n' % (request["id"].encode(), answer))
            else:
                await answer(writer)
        writer.close()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    """Yield a lying agent."""
    folder = Path(tempfile.mkdtemp(prefix="vmr-"))
    liar = Liar(folder / "agent.sock")
    async with await asyncio.start_unix_server(liar.serve, liar.socket):
        yield liar
    shutil.rmtree(folder)


@pytest.fixture
async def agent(liar: Liar) -> AsyncIterator[GuestAgent]:
    """Yield a client of it."""
    async with GuestAgent(liar.socket, "liar") as client:
        yield client


@pytest.mark.parametrize(
    "answer",
    [
        b'{"count":3,"buf-b64":"QUJD","eof":true}',
        b'{"count":1,"buf-b64":"QUJD","eof":true}',
        b'{"count":-1,"buf-b64":"","eof":true}',
        b'{"count":3,"buf-b64":"!!!","eof":true}',
        b'{"count":3,"buf-b64":5,"eof":true}',
        b'{"count":1e400,"eof":true}',
        b'{"eof":true}',
        b"null",
        b'{"count":3,"buf-b64":"' + b"QUJD" * 100_000 + b'"}',
    ],
)
async def test_a_read_that_is_none(liar: Liar, agent: GuestAgent, answer: bytes) -> None:
    """Data that is more than was asked for, not of the told length, or no data at all."""
    liar.answers["guest-file-read"] = answer
    with pytest.raises(GuestError, match="guest-file-read"):
        await agent.read_file("/x", limit=2)


async def test_a_file_that_never_ends(liar: Liar, agent: GuestAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read without a limit ends with an error at its bound; an empty piece that is not the end ends it."""
    monkeypatch.setattr("vmr.agent_files.MAX_FILE", 8)
    monkeypatch.setattr("vmr.agent_files.READ_CHUNK", 3)
    liar.answers["guest-file-read"] = b'{"count":3,"buf-b64":"QUJD","eof":false}'
    with pytest.raises(GuestError, match="/x has more than 8 bytes"):
        await agent.read_file("/x")
    liar.answers["guest-file-read"] = b'{"count":0,"buf-b64":"","eof":false}'
    assert await agent.read_file("/x") == b""


@pytest.mark.parametrize("answer", [b'{"count":4}', b'{"count":0}', b'{"count":"3"}', b"{}", b"[]"])
async def test_a_write_that_is_none(liar: Liar, agent: GuestAgent, answer: bytes) -> None:
    """More written than was sent, nothing, or no number."""
    liar.answers["guest-file-write"] = answer
    with pytest.raises(GuestError, match="guest-file-write"):
        await agent.write_file("/x", b"ABC")


async def test_a_write_in_small_steps(liar: Liar, agent: GuestAgent) -> None:
    """An agent may write less than it was given; the rest follows."""
    liar.answers["guest-file-write"] = b'{"count":1}'
    assert await agent.write_file("/x", b"ABC") == 3


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("guest-exec", b'{"pid":"1"}'),
        ("guest-exec", b"{}"),
        ("guest-exec-status", b'{"exited":"yes"}'),
        ("guest-exec-status", b'{"exited":true,"exitcode":"0"}'),
        ("guest-exec-status", b'{"exited":true,"exitcode":0,"out-data":"="}'),
        ("guest-info", b"{}"),
        ("guest-info", b'{"version":1,"supported_commands":[]}'),
        ("guest-get-osinfo", b'{"id":5}'),
        ("guest-get-time", b'"now"'),
        ("guest-get-time", b"9" * 5000),
        ("guest-network-get-interfaces", b'{"name":"lo"}'),
        ("guest-network-get-interfaces", b"[" * 5000 + b"]" * 5000),
    ],
)
async def test_results_of_a_wrong_form(liar: Liar, agent: GuestAgent, command: str, answer: bytes) -> None:
    """Each is a `GuestError` that names the command; the connection goes on."""
    liar.answers |= {"guest-exec": b'{"pid":1}', command: answer, "guest-ping": b"{}"}
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "guest-exec": lambda: agent.exec("/bin/true"),
        "guest-exec-status": lambda: agent.exec_status(1),
        "guest-info": agent.info,
        "guest-get-osinfo": agent.osinfo,
        "guest-get-time": agent.get_time,
        "guest-network-get-interfaces": agent.network_get_interfaces,
    }
    with pytest.raises(GuestError, match=command):
        await calls[command]()
    await agent.ping()


async def test_a_reply_without_end(liar: Liar, agent: GuestAgent) -> None:
    """A small command's reply is cut off at 4 MiB, long before its time-out."""

    async def pour(writer: asyncio.StreamWriter) -> None:
        for _ in range(20):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
        writer.write(b"\n")

    liar.answers["guest-info"] = pour
    with pytest.raises(GuestError, match="more than 4194304 bytes"):
        await agent.info()
    liar.answers["guest-ping"] = b"{}"
    await agent.ping()


async def test_more_output_than_expected(liar: Liar, agent: GuestAgent) -> None:
    """Who knows how much there can be says so, and gets no more."""
    liar.answers["guest-exec-status"] = b'{"exited":true,"exitcode":0,"out-data":"' + b"QUJD" * 100_000 + b'"}'
    assert len((await agent.exec_status(1)).stdout) == 300_000
    with pytest.raises(GuestError, match="more than"):
        await agent.exec_status(1, expect=65_536)


async def test_an_agent_that_talks_unasked(liar: Liar, agent: GuestAgent) -> None:
    """One that does it once is brought into step; one that does not stop is given up, with the reason."""
    liar.answers["guest-ping"] = b"{}"
    liar.unasked = [b"x"] * 2
    await agent.sync()
    await agent.ping()
    assert liar.synchronizations == 4  # when connecting, when told to, and twice for the two interruptions
    liar.unasked = [b"x"] * 9
    await agent.sync()
    with pytest.raises(GuestError, match="nobody asked for"):
        await agent.ping()


async def test_a_shutdown_that_is_answered(liar: Liar, agent: GuestAgent) -> None:
    """Whatever an agent says to it, it is about to go: the next command synchronizes first."""
    liar.answers |= {"guest-shutdown": b"{}", "guest-ping": b"{}"}
    await agent.shutdown()
    before = liar.synchronizations
    await agent.ping()
    assert liar.synchronizations == before + 1


async def test_an_agent_that_says_nothing(liar: Liar, agent: GuestAgent) -> None:
    """The time-out is the caller's."""

    async def nothing(_: asyncio.StreamWriter) -> None:
        return

    liar.answers["guest-ping"] = nothing
    with pytest.raises(AgentTimeoutError, match=r"guest liar: guest-ping: no reply within 0\.02 s"):
        await agent.ping(0.02)
