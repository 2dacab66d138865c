"""The parts of the micro-VMs' image: the archive format, the kernel's payload, modules in order; the whole of it boots elsewhere."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vmr.errors import GuestSetupError
from vmr.guests import cpio, debian, image, kernel


def test_an_archive_has_the_format_of_the_kernels_documentation() -> None:
    """Every header has its 14 numbers, names and contents are padded to four bytes, and a trailer ends it."""
    entries = [cpio.folder("dev"), cpio.character_device("dev/null", 1, 3, 0o666), cpio.file("init", b"#!/bin/sh\n")]
    found = list(parse(cpio.archive(entries)))
    assert found == [
        ("dev", 0o040755, b"", (0, 0)),
        ("dev/null", 0o020666, b"", (1, 3)),
        ("init", 0o100755, b"#!/bin/sh\n", (0, 0)),
        ("TRAILER!!!", 0, b"", (0, 0)),
    ]


def parse(archive: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """Read a newc archive by its documentation."""
    found, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + numbers[11] - 1].decode()
        begin = (at + 110 + numbers[11] + 3) & ~3
        found.append((name, numbers[1], archive[begin : begin + numbers[6]], (numbers[9], numbers[10])))
        at = (begin + numbers[6] + 3) & ~3
    return found


def packed(payload: bytes) -> bytes:
    """Return a kernel image with this payload, as the boot protocol lays it out."""
    header = bytearray(1024)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    header[0x248:0x250] = struct.pack("<II", 7, len(payload))
    return bytes(header) + bytes(7) + payload + bytes(100)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_a_kernel_is_taken_out_of_its_wrapping(compress: Callable[[bytes], bytes]) -> None:
    """The uncompressed kernel comes out of a compressed image, whose payload ends with the size of the content."""
    inner = b"\x7fELF" + os.urandom(1000)
    assert kernel.bootable(packed(compress(inner) + struct.pack("<I", len(inner)))) == inner


@pytest.mark.parametrize(
    "content",
    [b"MZ nothing known", packed(b"unknown compression"), packed(gzip.compress(b"no kernel"))],
    ids=["no-image", "unknown", "no-kernel"],
)
def test_an_image_that_cannot_be_opened_stays_as_it_is(content: bytes) -> None:
    """It boots all the same, only slower."""
    assert kernel.bootable(content) == content


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    """Dependencies are read from the modules themselves, compressed ones are opened, what is built in is left out."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/virtio_net.ko").write_bytes(b"\x7fELF\0depends=net_failover,virtio,virtio_ring\0")
    (tmp_path / "net/net_failover.ko").write_bytes(b"\0depends=failover\0")
    (tmp_path / "failover.ko.xz").write_bytes(lzma.compress(b"failover\0depends=\0"))
    (tmp_path / "virtio.ko").write_bytes(b"\0depends=virtio-ring\0")
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio_ring.ko\n")
    loaded = kernel.modules(tmp_path, ["virtio-net"])
    assert [name for name, _ in loaded] == ["failover", "net_failover", "virtio", "virtio_net"]
    assert dict(loaded)["failover"] == b"failover\0depends=\0"


def test_a_module_that_is_nowhere_is_named(tmp_path: Path) -> None:
    """A kernel without a needed module cannot be used, and the error says which."""
    with pytest.raises(GuestSetupError, match="no module virtio_blk"):
        kernel.modules(tmp_path, ["virtio_blk"])


def test_a_package_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    """Without the package lists or the network, the error says how to get the package."""
    with pytest.raises(GuestSetupError, match="apt-get update"):
        debian.unpack("no-such-package-anywhere", tmp_path)


def test_one_image_is_built_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that need the image at the same time wait for one build, and a failed build leaves nothing behind."""
    built: list[Path] = []

    def build(work: Path, _: object) -> None:
        built.append(work)
        (work / "image").mkdir()

    monkeypatch.setattr(image, "_build", build)
    askers = [threading.Thread(target=image.ensure_image, args=(lambda _: None, tmp_path)) for _ in range(5)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(built) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([image._key(), "lock"])


def test_the_package_list_knows_this_machine(real: Callable[[str], object]) -> None:
    """The installer finds nothing missing where these tests run, and refuses options that it does not have."""
    script = Path(__file__).parents[2] / "ops" / "packages"
    real("vm")
    assert subprocess.run([script, "--check"], capture_output=True, check=False).returncode == 0
    assert subprocess.run([script, "--force"], capture_output=True, check=False).returncode == 2
