"""What programs in a guest have written, as far as their driver knows: bytes become text, in pieces that add up."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, Final, Protocol

from vmr.agent_messages import ExecStatus

MOST_OUTPUT: Final = 64 << 20
"""Characters of output that are kept; beyond that, the programs that ended first are forgotten."""

_SIGNALLED: Final = 128
_LAST_SIGNAL: Final = 64
_STREAMS: Final = ("stdout", "stderr")


class _Holder(Protocol):
    output_cache: dict[int, dict[str, Any]]


class OutputCache:
    """Fills a driver's ``output_cache``.

    What is not UTF-8 appears as backslash escapes; a character may come in two pieces.
    """

    def __init__(self, holder: _Holder) -> None:
        self._holder = holder
        self._decoders: dict[tuple[int, str], codecs.IncrementalDecoder] = {}

    def forget(self, pid: int) -> None:
        """Forget a program: its process id belongs to another one now."""
        self._holder.output_cache.pop(pid, None)
        for stream in _STREAMS:
            self._decoders.pop((pid, stream), None)

    def store(self, pid: int, output: ExecStatus | Mapping[str, Any] | str) -> None:
        """Add what came of a program."""
        news = _news(output)
        entry = self._holder.output_cache.setdefault(pid, {"exited": False})
        exited = bool(news.get("exited", entry["exited"]))
        for stream in _STREAMS:
            if stream in news:
                entry[stream] = entry.get(stream, "") + self._text(pid, stream, news[stream], final=exited)
        entry.update({key: value for key, value in news.items() if key not in _STREAMS})
        if exited:
            self._trim(pid)

    def _text(self, pid: int, stream: str, piece: bytes | str, *, final: bool) -> str:
        if isinstance(piece, str):
            return piece
        decoder = self._decoders.get((pid, stream))
        if decoder is None:
            decoder = self._decoders[pid, stream] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        return decoder.decode(piece, final)

    def _trim(self, kept: int) -> None:
        cache = self._holder.output_cache
        size = sum(_size(entry) for entry in cache.values())
        for pid in [pid for pid, entry in cache.items() if entry["exited"] and pid != kept]:
            if size <= MOST_OUTPUT:
                return
            size -= _size(cache[pid])
            self.forget(pid)


def _news(output: ExecStatus | Mapping[str, Any] | str) -> dict[str, Any]:
    if isinstance(output, str):
        return {"stdout": output}
    if not isinstance(output, ExecStatus):
        return dict(output)
    news = {"exited": output.exited, "stdout": output.stdout, "stderr": output.stderr}
    if output.exited:
        news |= {"exitcode": _exit_code(output)}
        news |= {"stdout_trunc": output.stdout_truncated, "stderr_trunc": output.stderr_truncated}
    return news if output.signal is None else news | {"signal": output.signal}


def _exit_code(status: ExecStatus) -> int | None:
    """Return the exit code, 128 + n for a program that signal n ended; an exception of Windows stands for itself."""
    if status.exit_code is not None or status.signal is None:
        return status.exit_code
    return status.signal + _SIGNALLED if status.signal <= _LAST_SIGNAL else status.signal


def _size(entry: Mapping[str, Any]) -> int:
    return sum(len(entry.get(stream, "")) for stream in _STREAMS)
