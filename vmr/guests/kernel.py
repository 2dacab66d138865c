"""What a micro-VM takes out of an unpacked Debian kernel package: the bootable image, and modules in the order of loading."""

from __future__ import annotations

import lzma
import re
import struct
import subprocess
import zlib
from pathlib import Path

from vmr.errors import GuestSetupError
from vmr.guests.processes import find_tool

_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_XZ = b"\xfd7zXZ"
_GZIP = b"\x1f\x8b"
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def bootable(image: bytes) -> bytes:
    """Return the uncompressed kernel (ELF, booted over PVH) out of a bzImage, or the bzImage itself when it cannot be opened.

    Both boot. The uncompressed one reboots in a third of the time without KVM, because the decompressor is not emulated again.
    Header fields: the kernel's Documentation/arch/x86/boot.rst.
    """
    if image[0x202:0x206] != b"HdrS":
        return image
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (sectors + 1) * 512 + offset
    kernel = _decompress(image[begin : begin + length])
    return kernel if kernel is not None and kernel.startswith(b"\x7fELF") else image


def _decompress(payload: bytes) -> bytes | None:
    """Return the payload's content. Its last four bytes are not compressed data but the size of the content."""
    if payload.startswith(_GZIP):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(_XZ):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(_LZ4_LEGACY):
        return _through_tool("lz4", payload[:-4])
    if payload.startswith(_ZSTD):
        return _through_tool("zstd", payload[:-4])
    return None


def _through_tool(tool: str, payload: bytes) -> bytes | None:
    path = find_tool(tool)
    if path is None:
        return None
    return subprocess.run([path, "-dc"], input=payload, stdout=subprocess.PIPE, check=True).stdout


def modules(kernel_folder: Path, wanted: list[str]) -> list[tuple[str, bytes]]:
    """Return name and content of the wanted modules and all they depend on, each after what it needs.

    Raises `GuestSetupError` when a module is neither a file of the package nor built into the kernel.
    """
    files = {_normal(path.name.partition(".")[0]): path for path in sorted(kernel_folder.rglob("*.ko*"))}
    builtin = "".join(path.read_text(encoding="utf-8") for path in kernel_folder.rglob("modules.builtin"))
    found: dict[str, bytes] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        if name not in files:
            if f"/{name}.ko" not in _normal(builtin):
                raise GuestSetupError(f"the kernel package has no module {name}; the micro-VM cannot be built from it")
            return
        content = _read_module(files[name])
        match = _DEPENDS.search(content)
        for needed in (match[1].decode() if match else "").split(","):
            if needed:
                visit(_normal(needed))
        found[name] = content

    for name in wanted:
        visit(_normal(name))
    return list(found.items())


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _read_module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
