"""The quick way for messages of a stream gives what nats-py's parser gives, however the socket cuts them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from vmr.log._client import HistoryParser

_TAKEN = 7
_OTHER = 8
_Message = tuple[int, bytes, bytes, bytes, bytes | None]


class _Heard:
    """Notes what a parser says, in its order."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.said.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.said.append("ping")

    async def _process_pong(self) -> None:
        self.said.append("pong")

    def take(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.said.append((_TAKEN, subject, reply, data, headers))


def _wire(sid: int, reply: bytes, headers: bytes | None, data: bytes) -> bytes:
    asked = b" " + reply if reply else b""
    if headers is None:
        return b"MSG vmr.prod.vm.a.added %d%s %d\r\n%s\r\n" % (sid, asked, len(data), data)
    sizes = (len(headers), len(headers) + len(data))
    return b"HMSG vmr.prod.vm.a.added %d%s %d %d\r\n%s%s\r\n" % (sid, asked, *sizes, headers, data)


_ACK = b"$JS.ACK.VMR_prod.reader.1.17.4.1700000000000000000.3"
_HEADERS = b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n"
_CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\r\n", b"PING\r\n", _wire(_TAKEN, _ACK, _HEADERS, b"{}"), b"x" * 3000]),
)
_PIECES = st.one_of(
    st.builds(
        _wire,
        st.sampled_from([_TAKEN, _TAKEN, _TAKEN, _OTHER]),
        st.sampled_from([_ACK, _ACK, _ACK, b"", b"_INBOX.x"]),
        st.sampled_from([_HEADERS, _HEADERS, None, b"NATS/1.0 100 Idle Heartbeat\r\n\r\n"]),
        _CONTENTS,
    ),
    st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n"]),
)


async def _parsed(parser: Parser, heard: _Heard, pieces: list[bytes]) -> list[Any]:
    for piece in pieces:
        await parser.parse(piece)
    return heard.said


def _cut(wire: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(wire)) for place in places} | {len(wire)})
    return [wire[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end]


def _quick(heard: _Heard) -> HistoryParser:
    return HistoryParser(cast("Client", heard), {_TAKEN: heard.take})


@given(st.lists(_PIECES, max_size=12), st.lists(st.integers(0, 5000), max_size=12))
def test_it_says_what_nats_says(pieces: list[bytes], places: list[int]) -> None:
    """The same messages, pings and pongs, each whole, in the same order, wherever the bytes are cut."""
    wire = b"".join(pieces)
    usual, quick = _Heard(), _Heard()
    said = asyncio.run(_parsed(Parser(usual), usual, [wire]))
    assert asyncio.run(_parsed(_quick(quick), quick, _cut(wire, places))) == said


def test_a_cut_may_be_anywhere() -> None:
    """Between any two bytes of messages, and between all of them."""
    wire = _wire(_TAKEN, _ACK, _HEADERS, b"{}") * 2 + b"PING\r\n" + _wire(_TAKEN, _ACK, None, b"[]") * 2
    heard = _Heard()
    said = asyncio.run(_parsed(Parser(heard), heard, [wire]))
    assert len(said) == 5
    for pieces in [*(_cut(wire, [place]) for place in range(len(wire))), _cut(wire, list(range(len(wire))))]:
        heard = _Heard()
        assert asyncio.run(_parsed(_quick(heard), heard, pieces)) == said


async def test_messages_do_not_go_the_long_way() -> None:
    """A message that has come whole is taken where it lies."""
    heard = _Heard()
    parser = _quick(heard)
    taken = parser._take(_wire(_TAKEN, _ACK, _HEADERS, b"{}") * 3 + b"HMSG ")
    assert heard.said == [(_TAKEN, b"vmr.prod.vm.a.added", _ACK, b"{}", _HEADERS)] * 3
    assert taken == 3 * len(_wire(_TAKEN, _ACK, _HEADERS, b"{}"))


async def test_what_is_no_protocol_is_refused() -> None:
    """As nats-py refuses it."""
    heard = _Heard()
    with pytest.raises(ProtocolError):
        await _quick(heard).parse(b"HELO\r\n")
