"""The protocol session without I/O: no split of the bytes, no rubbish and no stale reply brings a wrong answer."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmr.agent_messages import MAX_CAPTURE, AgentInfo, Chunk, ExecStatus, OsInfo
from vmr.agent_protocol import Lines, Session, decode
from vmr.errors import AgentError, GuestError, InvalidInputError

STRAY = b'{"error": {"class": "GenericError", "desc": "JSON parse error, stray \'\\uFFFD\'"}}\n'
rubbish = st.binary(max_size=60) | st.sampled_from(
    [b"\xff", b"\n", b'{"return": 1}\n', STRAY, b'{"return": {}, "id": "x"}\n']
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return ``data`` cut at the given places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


def sync_reply(request: bytes) -> bytes:
    """Return the agent's answer to a synchronization."""
    assert request.startswith(b"\xff")
    return STRAY + b'\xff{"return": %d}\n' % json.loads(request[1:])["arguments"]["id"]


def reply(request: bytes, result: Any) -> bytes:
    """Return the agent's answer to a request."""
    return json.dumps({"return": result, "id": json.loads(request)["id"]}).encode() + b"\n"


def synced() -> Session:
    """Return a session that is in step."""
    session = Session()
    assert session.receive(sync_reply(session.begin_sync()))
    session.take()
    assert session.synced
    return session


@given(before=st.lists(rubbish), cuts=st.lists(st.integers(0, 10_000)), value=st.integers())
def test_synchronization_drops_all_that_was_before(before: list[bytes], cuts: list[int], value: int) -> None:
    """Whatever the stream still held, in whatever pieces, the first command after it gets its own result."""
    session = Session()
    stream = b"".join(before) + sync_reply(session.begin_sync())
    over = [session.receive(piece) for piece in pieces(stream, cuts)]
    assert over == [False] * (len(over) - 1) + [True]
    session.take()
    assert session.synced
    request = session.begin("guest-ping")
    assert session.receive(reply(request, value))
    assert decode("guest-ping", session.take(), int) == value


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 10_000)))
def test_lines_do_not_depend_on_the_cuts(parts: list[bytes], cuts: list[int]) -> None:
    """The same bytes give the same lines, cut anywhere; each is what follows its last 0xFF."""
    data = b"\n".join(parts) + b"\n"
    lines = Lines()
    found = [line for piece in pieces(data, cuts) for line in lines.feed(piece, 100_000)]
    assert found == [line.rsplit(b"\xff", 1)[-1] for line in data.split(b"\n")[:-1]]
    assert not lines.pending


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 10_000)))
def test_lines_over_the_limit_are_dropped(lengths: list[int], cuts: list[int]) -> None:
    """Exactly those that fit come through, the others are told, and nothing longer is ever kept."""
    lines = Lines()
    found = []
    for piece in pieces(b"".join(b"x" * length + b"\n" for length in lengths), cuts):
        found += lines.feed(piece, 10)
        assert len(lines._buffer) <= 10
    assert found == [b"x" * length if length <= 10 else None for length in lengths]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_or_a_guest_error(data: bytes) -> None:
    """A command in flight ends with a result, with a `GuestError`, or goes on waiting: nothing else happens."""
    session = synced()
    session.begin("guest-ping")
    if session.receive(data):
        with pytest.raises(GuestError):
            session.take()
        assert not session.synced


def test_replies_of_others_are_ignored() -> None:
    """A reply with a foreign id, or with none, is not ours."""
    session = synced()
    request = session.begin("guest-info")
    assert not session.receive(b'{"return": {"pid": 1}, "id": "somebody-else-0"}\n{"return": {"pid": 2}}\n')
    assert session.receive(reply(request, {"pid": 3}))
    assert bytes(session.take()) == b'{"pid": 3}'
    assert session.synced


def test_ids_are_never_used_twice() -> None:
    """Two sessions, and two commands of one, have different ids and different synchronization numbers."""
    first, second = synced(), synced()
    requests = [first.begin("guest-ping"), second.begin("guest-ping")]
    first.abandon()
    first.receive(sync_reply(first.begin_sync()))
    requests.append(first.begin("guest-ping"))
    assert len({json.loads(request)["id"] for request in requests}) == 3
    assert first.begin_sync() != first.begin_sync()


def test_an_abandoned_command_needs_a_synchronization() -> None:
    """After giving up, and after a reply that cannot be read, the session is out of step."""
    session = synced()
    session.begin("guest-ping")
    session.abandon()
    assert not session.synced
    session = synced()
    session.begin("guest-ping")
    assert session.receive(b"rubbish\n")
    assert not session.synced


def test_what_comes_unasked_breaks_the_step() -> None:
    """Bytes while no command is in flight, before or after its reply's end, demand a synchronization."""
    session = synced()
    assert not session.receive(b"x")
    assert not session.synced
    for extra in (b"x", b"\n", b"x\n"):
        session = synced()
        request = session.begin("guest-ping")
        assert session.receive(reply(request, {}) + extra)
        session.take()
        assert not session.synced


def test_an_endless_reply_is_an_error_at_its_limit() -> None:
    """The limit of the command decides, at once, without waiting for the line's end; synchronizing drops the rest."""
    session = synced()
    session.begin("guest-ping", limit=1000)
    assert not session.receive(b"x" * 1000)
    assert session.receive(b"x")
    with pytest.raises(GuestError, match="guest-ping: the agent sent more than 1000 bytes"):
        session.take()
    request = session.begin_sync()
    assert not session.receive(b"y" * 10_000_000)
    assert session.receive(b"y\n" + sync_reply(request))


@given(length=st.integers(900, 1100), cuts=st.lists(st.integers(0, 10_000)))
def test_a_reply_over_the_limit_is_an_error_in_any_pieces(length: int, cuts: list[int]) -> None:
    """Where the bytes are cut decides nothing: the reply comes when it fits, and is an error when it does not."""
    session = synced()
    line = reply(session.begin("guest-ping", limit=1000), "")
    line = line.replace(b'""', b'"%s"' % (b"x" * (length - len(line) + 1)))
    assert any(session.receive(piece) for piece in pieces(line, cuts))
    if length <= 1000:
        assert decode("guest-ping", session.take(), str).strip("x") == ""
    else:
        with pytest.raises(GuestError, match="more than 1000 bytes"):
            session.take()


def test_the_agents_error_keeps_its_class() -> None:
    """Class and description come from the agent; with an id the session stays in step, without one it does not."""
    session = synced()
    identity = json.loads(session.begin("guest-exec"))["id"]
    error = {"error": {"class": "CommandNotFound", "desc": "no"}}
    assert session.receive(json.dumps({"id": identity, **error}).encode() + b"\n")
    with pytest.raises(AgentError, match=r"guest-exec: no \(CommandNotFound\)") as raised:
        session.take()
    assert (raised.value.error_class, raised.value.description) == ("CommandNotFound", "no")
    assert session.synced
    session.begin("guest-exec")
    assert session.receive(json.dumps(error).encode() + b"\n")
    assert not session.synced


def test_arguments_that_are_no_json() -> None:
    """They are refused before anything is in flight."""
    session = synced()
    with pytest.raises(InvalidInputError, match="guest-file-open"):
        session.begin("guest-file-open", {"path": "\udcff"})
    with pytest.raises(InvalidInputError):
        session.begin("guest-file-open", {"path": object()})
    assert session.synced


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_result_decodes_or_is_a_guest_error(result: Any) -> None:
    """A result of a wrong type is a `GuestError`, never anything else."""
    for kind in (AgentInfo, ExecStatus, Chunk, OsInfo, int):
        session = synced()
        request = session.begin("guest-x")
        assert session.receive(reply(request, result))
        raw = session.take()
        try:
            decode("guest-x", raw, kind)
        except GuestError as error:
            assert "guest-x" in str(error)  # noqa: PT017 - most results raise, some decode


@pytest.mark.parametrize(
    ("told", "length", "truncated"),
    [(True, 10, True), (False, 10, False), (None, 10, False), (False, MAX_CAPTURE, True), (None, MAX_CAPTURE, True)],
)
def test_truncation_is_told_by_word_or_by_length(told: bool | None, length: int, truncated: bool) -> None:  # noqa: FBT001
    """Agents lie about truncation; output of the limit's length is truncated whatever they say."""
    data: dict[str, Any] = {
        "exited": True,
        "exitcode": 0,
        "out-data": "A" * (length // 3 * 4) + "AAAA",
        "err-data": "AAAA",
    }
    if told is not None:
        data["out-truncated"] = told
    session = synced()
    request = session.begin("guest-exec-status", limit=2 * MAX_CAPTURE)
    session.receive(reply(request, data))
    status = decode("guest-exec-status", session.take(), ExecStatus)
    assert status.stdout_truncated is truncated
    assert not status.stderr_truncated
