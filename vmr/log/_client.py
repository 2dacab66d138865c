"""nats-py's client, with the one part that reading history spends half of its time in made quick."""

from __future__ import annotations

from typing import Final

from nats.aio.client import Client

_STORED: Final = b"Nats-Msg-Id:"
_OWN: Final = b"\r\nVmr-"


class HistoryClient(Client):
    """A client that reads the headers of messages quickly, and those of stored events hardly at all.

    An event has up to seven headers from when it was published: its id, its batch, its fence. They speak to the server, and nobody
    reads them again; only vmr's own say something to a reader. nats-py looks at each character of each of them, which takes longer
    than all the rest of reading. Where nats-py no longer calls this, its own way is taken again.
    """

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        if raw.startswith(_STORED) and _OWN not in raw:
            return {}
        headers = {}
        for line in raw.decode("utf-8", "replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                headers[name] = value.strip()
        return headers
