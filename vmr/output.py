"""How a program's output becomes events: pieces of bytes at offsets, as text where they are text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vmr.events import OutputCaptured, StreamName

PIECE = 131_072
"""Bytes of output in one event: in JSON a control character takes six, and the server's smallest usual message limit is 1 MiB."""

_LONGEST_CHARACTER = 4


def output_events(
    server_uuid: str, entry: str, attempt: int, stream: StreamName, offset: int, data: bytes, *, final: bool
) -> list[OutputCaptured]:
    """Return the events that record ``data``, which begins at ``offset`` of the stream.

    Unless ``final``, a UTF-8 character that ``data`` begins and does not end is left for the next call: read again from the end of
    the last event.
    """
    events = []
    for piece in _pieces(data, final=final):
        text = _text(piece)
        events.append(
            OutputCaptured(
                server_uuid=server_uuid,
                entry=entry,
                attempt=attempt,
                stream=stream,
                offset=offset,
                size=len(piece),
                text=text,
                data=piece if text is None else None,
            )
        )
        offset += len(piece)
    return events


def _pieces(data: bytes, *, final: bool) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        piece = data[at : at + PIECE]
        if not final or at + len(piece) < len(data):
            piece = piece[: len(piece) - _unfinished(piece)]
        if not piece:
            return
        yield piece
        at += len(piece)


def _unfinished(piece: bytes) -> int:
    """Return how many bytes at the end of ``piece`` begin a UTF-8 character without ending it."""
    for back in range(1, min(_LONGEST_CHARACTER, len(piece) + 1)):
        byte = piece[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if byte < 0xF8 and back < length else 0
    return 0


def _text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None
