"""What the page's script reads, as parts that it unpacks when it needs them: JSON, compressed, as base64.

Base64 has no character that means anything in HTML, so whatever a guest wrote stays inside its part; and a part that nobody looks at
costs its bytes and nothing more.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

_BLOCK: Final = 256 * 1024
"""Bytes of JSON from which on a part is full: unpacked in some milliseconds."""


def packed(value: Any) -> str:
    """Return ``value`` as JSON, compressed, as base64; the same for the same value, whenever it is called."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(value), compresslevel=9, mtime=0)).decode("ascii")


class Blocks:
    """Puts what belongs to VMs into parts, VM by VM, and says which part has which VM's.

    Attributes:
        of_vm: number of the part that has what belongs to each VM.

    """

    def __init__(self) -> None:
        self.of_vm: dict[int, int] = {}

    def pack(self, vms: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[str]:
        """Yield the parts of ``vms`` (number of the VM, what belongs to it), the first of them number 0."""
        held: dict[str, Any] = {}
        size, number = 0, 0
        for vm, content in vms:
            self.of_vm[vm] = number
            held |= content
            size += len(msgspec.json.encode(content))
            if size >= _BLOCK:
                yield packed(held)
                held, size, number = {}, 0, number + 1
        if held:
            yield packed(held)
