"""A driver as somebody else would write it: against `AbstractDriver` alone, for an engine that vmr does not know.

It speaks to a stock guest agent through a blocking socket, one command after the other, and nothing of vmr's own client
is in it.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import socket
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vmr.abstract_driver import AbstractDriver

ENGINE = "OtherVM"


class OtherDriver(AbstractDriver):
    """A plain, synchronous driver."""

    def __init__(self, config: Mapping[str, Any], log: logging.Logger) -> None:
        super().__init__(config, log)
        self._replies: Any = None

    @staticmethod
    def get_engine() -> str:
        """Return the engine's name."""
        return ENGINE

    def connect(self) -> int | None:
        """Connect and synchronize."""
        self.close()
        self.driver = socket.socket(socket.AF_UNIX)
        self.driver.settimeout(10)
        self.driver.connect(str(self.config["path"]))
        self._replies = self.driver.makefile("rb")
        return self.sync()

    def close(self) -> None:
        """Close the socket."""
        for each in (self._replies, self.driver):
            if each is not None:
                each.close()
        self._replies = self.driver = None

    def sync(self, timeout: float = 5) -> int | None:
        """Send a marker and drop all that comes before it."""
        token = random.randrange(1 << 31)
        self.driver.sendall(json.dumps({"execute": "guest-sync", "arguments": {"id": token}}).encode() + b"\n")
        while line := self._replies.readline():
            if json.loads(line).get("return") == token:
                return token
        raise ConnectionError("the socket closed")

    def ping(self, timeout: float = 10) -> bool:
        """Ping."""
        try:
            self._ask("guest-ping")
        except OSError:
            return False
        return True

    def execute(
        self,
        path: str,
        arg: list[str] | str | None = None,
        env: list[str] | None = None,
        input_data: str | None = None,
        capture_output: bool = True,  # noqa: FBT001, FBT002 - the documented interface
    ) -> int | None:
        """Start a program."""
        try:
            return int(self._ask("guest-exec", path=path, arg=arg or [], **{"capture-output": capture_output})["pid"])
        except ValueError as error:
            self.log.warning("execute: %s", error)
            return None

    def exec_status(self, pid: int) -> dict[str, Any]:
        """Return the status, with text that is only as good as this driver makes it."""
        if not self.output_cache.get(pid, {}).get("exited"):
            self.store_captured_output(pid, self._ask("guest-exec-status", pid=pid))
        return self.output_cache[pid]

    def store_captured_output(self, pid: int, output: Any) -> None:
        """Keep a status."""
        texts = {
            stream: base64.b64decode(output.get(key, "")).decode(errors="replace")
            for stream, key in (("stdout", "out-data"), ("stderr", "err-data"))
        }
        self.output_cache[pid] = {"exited": output["exited"], "exitcode": output.get("exitcode"), **texts}

    def _write(self, filename: str, data: str, mode: str = "w") -> bool:
        """Write text."""
        return self._put(filename, data.encode(), mode)

    def write_from_file(self, filename: str, local_filename: str, mode: str = "w") -> bool:
        """Write a file."""
        return self._put(filename, Path(local_filename).read_bytes(), mode)

    def read_file(self, filename: str, local_destination: PurePosixPath, mode: str = "rb") -> bool:
        """Read a file."""
        try:
            handle = self._ask("guest-file-open", path=filename, mode=mode)
        except ValueError:
            return False
        with Path(local_destination).open("wb") as file:
            while not (piece := self._ask("guest-file-read", handle=handle, count=100_000))["eof"]:
                file.write(base64.b64decode(piece["buf-b64"]))
            file.write(base64.b64decode(piece["buf-b64"]))
        self._ask("guest-file-close", handle=handle)
        return True

    def file_flush(self, handle: int) -> None:
        """Flush."""
        self._ask("guest-file-flush", handle=handle)

    def get_os(self) -> str:
        """Return the system."""
        return str(self._ask("guest-get-osinfo")["pretty-name"])

    def get_time(self) -> int:
        """Return the time."""
        return int(self._ask("guest-get-time"))

    def set_time(self) -> None:
        """Set the time to the hardware clock's."""
        self._ask("guest-set-time")

    def set_user_password(self, username: str, password: str) -> None:
        """Set a password."""
        coded = base64.b64encode(password.encode()).decode()
        self._ask("guest-set-user-password", username=username, password=coded, crypted=False)

    def network_get_interfaces(self) -> list[Any]:
        """Return the interfaces."""
        return list(self._ask("guest-network-get-interfaces"))

    def reboot(self) -> None:
        """Send the command, which is not answered."""
        self.driver.sendall(b'{"execute": "guest-shutdown", "arguments": {"mode": "reboot"}}\n')
        self._reset_cache()

    def _put(self, filename: str, data: bytes, mode: str) -> bool:
        try:
            handle = self._ask("guest-file-open", path=filename, mode=mode)
            self._ask("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(data).decode()})
            self._ask("guest-file-close", handle=handle)
        except ValueError as error:
            self.log.warning("write: %s", error)
            return False
        return True

    def _ask(self, command: str, **arguments: Any) -> Any:
        with self.lock:
            if self.driver is None:
                raise ConnectionError("not connected")
            self.driver.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            line = self._replies.readline()
        if not line:
            raise ConnectionError("the socket closed")
        reply = json.loads(line)
        if "error" in reply:
            raise ValueError(reply["error"]["desc"])
        return reply["return"]
