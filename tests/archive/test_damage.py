"""Whatever is flipped or cut off is noticed, and the first bad event named; everything before it is what it was."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.archive.damaging import Golden, Outcome, flipped
from tests.archive.folded import GOLDEN
from vmr.archive import Verdict, open_archive, verify_archive
from vmr.archive._bytes import SEAL_SIZE
from vmr.archive._reader_process import PartReader
from vmr.errors import DataError

FLIPS = 8_000
CUTS = 2_000


@pytest.fixture
def memory_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory, where there is one, in which temporary files are made as well."""
    base = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=base if base.is_dir() else tmp_path) as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def golden(archive: Path) -> Golden:
    """Return an archive that is whole, and where everything lies in it."""
    return Golden.of(archive)


def outcome_of(file: Path, data: bytes, reader: PartReader) -> Outcome:
    """Return what verifying these bytes says."""
    file.write_bytes(data)
    try:
        return verify_archive(file, reader=reader)
    except DataError as error:
        return error


def test_a_whole_archive_is_whole(archive: Path, golden: Golden) -> None:
    """Every event, and the head of the chain."""
    verdict = verify_archive(archive)
    assert verdict.whole
    assert (verdict.first, verdict.last, verdict.chain) == (1, golden.manifest.last, golden.manifest.chain)
    assert str(verdict) == f"{archive} is whole: events 1 to {golden.manifest.last}, hash chain {golden.manifest.chain}"


@pytest.mark.parametrize("bit", [138_704, 176_112])
def test_a_part_that_breaks_the_database_spoils_no_other(bit: int, tmp_path: Path) -> None:
    """DuckDB 2.0 takes either of these for an error of its own, and its database answers nothing from then on."""
    with open_archive(GOLDEN / "simple-server.zip") as opened, PartReader() as reader:
        (part,) = opened.manifest.parts
        whole = opened.extract(part, tmp_path)
        damaged = tmp_path / "damaged.parquet"
        damaged.write_bytes(flipped(whole.read_bytes(), bit))
        first = reader.check(damaged, part.first, part.last, part.before, None)
        assert first.problem
        assert first.whole < part.last - part.first + 1
        second = reader.check(whole, part.first, part.last, part.before, part.after)
        assert (second.problem, second.whole) == ("", part.last - part.first + 1)


def test_ten_thousand_flips_and_cuts_are_all_noticed_and_named(golden: Golden, memory_folder: Path) -> None:
    """Each verdict is one that this damage allows: the part it is in, the member, or that every event is whole."""
    chance = random.Random(20_260_131)
    places = [chance.randrange(8 * len(golden.data)) for _ in range(FLIPS)]
    lengths = [chance.randrange(len(golden.data)) for _ in range(CUTS)]

    def work(share: int) -> list[str]:
        file = memory_folder / f"{share}.zip"
        with PartReader() as reader:
            wrong = [
                golden.judge_flip(place // 8, outcome_of(file, flipped(golden.data, place), reader))
                for place in places[share::2]
            ]
            wrong += [golden.judge_cut(end, outcome_of(file, golden.data[:end], reader)) for end in lengths[share::2]]
        return [one for one in wrong if one]

    with ThreadPoolExecutor(2) as pool:
        assert [one for found in pool.map(work, range(2)) for one in found] == []


def test_every_bit_of_what_leads_to_the_members(golden: Golden, memory_folder: Path) -> None:
    """The headers of a part and of the manifest's checksum, and the end of the ZIP's directory."""
    sum_header = golden.data.index(b"manifest.sha256") - 30
    part_header = golden.manifest.parts[0].offset - 30 - len(golden.manifest.parts[0].name)
    end = len(golden.data) - SEAL_SIZE - 22
    file = memory_folder / "x.zip"
    with PartReader() as reader:
        wrong = [
            golden.judge_flip(bit // 8, outcome_of(file, flipped(golden.data, bit), reader))
            for begin, length in ((part_header, 30), (sum_header, 30), (end, 22))
            for bit in range(begin * 8, (begin + length) * 8)
        ]
    assert [one for one in wrong if one] == []


def test_the_event_that_differs_is_named(golden: Golden, memory_folder: Path) -> None:
    """One message is another, in a file whose seal and manifest agree with it: the chain leads to exactly that event."""
    for sequence in (1, 77, 100, 101, golden.manifest.last):
        forged = golden.forge(memory_folder / f"{sequence}.zip", sequence)
        verdict = verify_archive(forged)
        assert (verdict.first_bad, verdict.whole) == (sequence, False), verdict
        assert f"the first bad event is {sequence}: it is not what the hash chain says" in str(verdict)


def test_a_reader_that_dies_or_hangs_is_no_end(golden: Golden, memory_folder: Path) -> None:
    """What a hostile part does to its reader is told as damage of the part."""
    file = memory_folder / "x.zip"
    file.write_bytes(flipped(golden.data, 8 * (golden.manifest.parts[1].offset + 4000)))
    with PartReader(seconds=0.0) as reader:
        verdict = verify_archive(file, reader=reader)
        assert isinstance(verdict, Verdict)
        assert verdict.first_bad == golden.manifest.parts[1].first
        assert "its reader gave no answer" in verdict.problem
    assert msgspec.to_builtins(verdict)["first_bad"] == 101
