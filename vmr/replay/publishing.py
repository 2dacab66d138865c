"""Events of a replay onto subjects of their own, for other programs: plain NATS messages, outside of every stream of vmr's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import nats.errors

from vmr.errors import InvalidInputError, LogUnavailableError
from vmr.events import Recorded, encode
from vmr.messages import STORED_HEADER
from vmr.subjects import QUERY_ROOT, ROOT

if TYPE_CHECKING:
    from nats.aio.client import Client

SEQUENCE_HEADER: Final = "Vmr-Sequence"
TIME_HEADER: Final = "Vmr-Time"
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_TAKEN: Final = frozenset({ROOT, QUERY_ROOT, "_INBOX", "_R_"})


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if events may be published below it; raise `InvalidInputError` where the log itself would take them for new."""
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInputError(
            f"--publish {prefix!r}: give words of letters, digits, - and _ with dots between, as replay.mine"
        )
    if prefix.partition(".")[0] in _TAKEN:
        raise InvalidInputError(
            f"--publish {prefix!r}: these are subjects of the log's own; give others, as replay.mine"
        )
    return prefix


class Publisher:
    """Publishes each event on ``<prefix>.<its subject>``: its message, byte for byte, with sequence, time of storing and time as headers."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = check_prefix(prefix)

    async def tell(self, events: list[Recorded]) -> None:
        """Publish ``events`` in their order; return when the server has them. Raises `LogUnavailableError` when it has gone."""
        try:
            for recorded in events:
                subject = f"{self._prefix}.{recorded.subject}"
                data = recorded.data or encode(recorded.event)
                await self._client.publish(subject, data, headers=_headers(recorded))
            await self._client.flush()
        except (nats.errors.Error, TimeoutError) as error:
            raise LogUnavailableError(f"events cannot be published: {error}; see `vmr status`") from error

    async def jump(self, sequence: int) -> None:
        """Do nothing: the sequences in the headers say where a message belongs."""


def _headers(recorded: Recorded) -> dict[str, str]:
    return {
        SEQUENCE_HEADER: str(recorded.sequence),
        STORED_HEADER: str(recorded.stored),
        TIME_HEADER: recorded.event.time.isoformat(timespec="microseconds"),
    }
