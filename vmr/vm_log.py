"""The two log files of one VM that FIREWHEEL's users read: ``<vm>.log`` for people, ``<vm>.json`` for programs.

They are copies for convenience; the record is the log's. Every line of ``<vm>.json`` is a JSON object: a line that a
program wrote as one, as it is, any other line as ``{"msg": …}``; each with the key ``vmr``, which says where it comes
from, and with ``timestamp`` (UTC, ISO 8601) unless the program has put one.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

_Stream = tuple[str, int, str]


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
        lines = [content] if isinstance(content, Mapping) else content.splitlines()
        source = {"vm": self._vm_name, **(about or {})}
        written = "".join(json.dumps(_as_object(line) | {"vmr": source}) + "\n" for line in lines)
        with self._guard, self.json_file.open("a", encoding="utf-8") as file:
            file.write(written)

    def write_output(self, text: str, about: Mapping[str, Any]) -> None:
        """Log whole lines that a program wrote, in both files."""
        for line in text.splitlines():
            self.logger.info("%s %s", " ".join(str(value) for value in about.values()), line)
        self.write_json(text, about)

    def _ended(self, entry: str, attempt: int) -> None:
        for stream in ("stdout", "stderr"):
            self._output((entry, attempt, stream), b"", final=True)

    def _output(self, stream: _Stream, piece: bytes, *, final: bool) -> None:
        with self._guard:
            data = self._unfinished.pop(stream, b"") + piece
            end = len(data) if final else data.rfind(b"\n") + 1
            if data[end:]:
                self._unfinished[stream] = data[end:]
        if end:
            about = dict(zip(("entry", "attempt", "stream"), stream, strict=True))
            self.write_output(data[:end].decode("utf-8", "backslashreplace"), about)


def _as_object(line: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return a line as an object; JSON that is no object (``5``, ``[1]``, ``null``) is a message like any text."""
    try:
        known = json.loads(line) if isinstance(line, str) else dict(line)
    except ValueError:
        known = None
    found = known if isinstance(known, dict) else {"msg": line}
    return {"timestamp": datetime.now(UTC).isoformat(timespec="seconds")} | found
