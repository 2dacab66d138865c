"""The two log files of one VM that FIREWHEEL's users read: ``<vm>.log`` for people, ``<vm>.json`` for programs.

They are copies for convenience; the record is the log's. Every line of ``<vm>.json`` is a JSON object: a line that a
program wrote as one, as it is, any other line as ``{"msg": …}``; each with the key ``vmr``, which says where it comes
from, and with ``timestamp`` (UTC, ISO 8601) unless the program has put one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from vmr.events import (
    EntryFailed,
    EntryFinished,
    EntryLost,
    EntryStarted,
    KnownBody,
    OutputCaptured,
    Unknown,
    VmRebooted,
    VmStateSet,
)
from vmr.subjects import encode_token

LONGEST_LINE: Final = 1 << 20
"""Bytes of a line that is not ended yet; a longer one is logged in pieces."""

_Stream = tuple[str, int, str]
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class VmLog:
    """The log files of one VM. May be used by many threads; processes that share a folder each append whole lines."""

    def __init__(self, folder: Path, vm_name: str) -> None:
        """Open the files in ``folder``, making it; a name that cannot be a file name is encoded as in subjects."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = "/" not in vm_name and "\0" not in vm_name and vm_name not in {"", ".", ".."}
        name = vm_name if plain else encode_token(vm_name)
        self.text_file = folder / f"{name}.log"
        self.json_file = folder / f"{name}.json"
        self._vm_name = vm_name
        self._guard = threading.Lock()
        self._unfinished: dict[_Stream, bytes] = {}
        self._handler = logging.FileHandler(self.text_file, encoding="utf-8", errors="backslashreplace")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.logger = logging.getLogger(f"vmr.vm.{encode_token(vm_name)}")
        self.logger.addHandler(self._handler)
        if self.logger.level == logging.NOTSET:
            self.logger.setLevel(logging.INFO)

    def close(self) -> None:
        """Close the files. Closing twice does nothing."""
        self.logger.removeHandler(self._handler)
        self._handler.close()

    def take(self, body: KnownBody | Unknown) -> None:
        """Log what an event of this VM says. Output is logged by whole lines, however it was cut into events."""
        match body:
            case OutputCaptured():
                piece = body.data if body.data is not None else (body.text or "").encode()
                self._output((body.entry, body.attempt, body.stream), piece, final=False)
            case EntryStarted(entry=entry, attempt=attempt):
                self.logger.info("%s: attempt %d started", entry, attempt)
            case EntryFinished(entry=entry, attempt=attempt, exit_code=code):
                self._ended(entry, attempt)
                level = logging.WARNING if code else logging.INFO
                self.logger.log(level, "%s: attempt %d finished with %s", entry, attempt, code)
            case (
                EntryFailed(entry=entry, attempt=attempt, error=reason)
                | EntryLost(entry=entry, attempt=attempt, reason=reason)
            ):
                self._ended(entry, attempt)
                self.logger.error("%s: attempt %d: %s", entry, attempt, reason)
            case VmStateSet(state=state, reason=reason):
                self.logger.info("state %s %s", state, reason)
            case VmRebooted():
                self.logger.info("rebooted")
            case _:
                pass

    def write_json(self, content: str | Mapping[str, Any], about: Mapping[str, Any] | None = None) -> None:
        """Append to ``<vm>.json``: a dictionary, or each line of a text; ``about`` says where it comes from."""
        lines = [dict(content)] if isinstance(content, Mapping) else [_object(line) for line in _lines(content)]
        known = {"timestamp": datetime.now(UTC).isoformat(timespec="seconds")}
        source = {"vmr": {"vm": self._vm_name, **(about or {})}}
        written = b"".join(msgspec.json.encode(known | line | source, enc_hook=str) + b"\n" for line in lines)
        with self._guard, self.json_file.open("ab") as file:
            file.write(written)

    def write_output(self, text: str, about: Mapping[str, Any]) -> None:
        """Log whole lines that a program wrote, in both files."""
        source = " ".join(str(value) for value in about.values())
        for line in _lines(text):
            self.logger.info("%s %s", source, _printable(line))
        self.write_json(text, about)

    def _ended(self, entry: str, attempt: int) -> None:
        for stream in ("stdout", "stderr"):
            self._output((entry, attempt, stream), b"", final=True)

    def _output(self, stream: _Stream, piece: bytes, *, final: bool) -> None:
        with self._guard:
            data = self._unfinished.pop(stream, b"") + piece
            end = len(data) if final or len(data) > LONGEST_LINE else data.rfind(b"\n") + 1
            if data[end:]:
                self._unfinished[stream] = data[end:]
        if end:
            about = dict(zip(("entry", "attempt", "stream"), stream, strict=True))
            self.write_output(data[:end].decode("utf-8", "backslashreplace"), about)


def _lines(text: str) -> list[str]:
    """Return the lines of ``text``. Only a line feed ends one: others of Unicode's line ends may stand within JSON."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]


def _object(line: str) -> dict[str, Any]:
    """Return a line as an object, its values byte for byte; what is no object (``5``, ``[1]``) is a message."""
    plain = line.encode("utf-8", "backslashreplace")
    try:
        found: dict[str, Any] = _decoder.decode(plain)
    except (msgspec.MsgspecError, RecursionError):
        return {"msg": plain.decode()}
    return found


def _printable(line: str) -> str:
    """Return ``line`` without what would control the terminal that shows it."""
    return "".join(each if each.isprintable() or each == "\t" else repr(each)[1:-1] for each in line)
