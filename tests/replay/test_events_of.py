"""The events of a run, iterated: the same out of the log, an archive and a read model's file, with the same filters."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import vmr
from tests.replay.conftest import Saved
from vmr.errors import InvalidInputError, QueryError
from vmr.events import EntryFinished, OutputCaptured, Recorded
from vmr.log import AsyncLog
from vmr.opened.cache import cache_folder

FILTERS: list[dict[str, Any]] = [
    {},
    {"vm": "web-7"},
    {"vm": "vm.7 *>é", "types": "vm.entry_*"},
    {"types": "vm.entry_finished"},
    {"types": ["experiment.*", "vm.added"]},
    {"types": "schedule.published"},
    {"since": 100, "until": 120},
    {"until": "start"},
    {"since": "start"},
    {"since": datetime.now(UTC) + timedelta(days=1)},
    {"vm": "web-1", "types": "*", "since": "2020-01-01", "until": "200"},
]


def plain(found: list[Recorded]) -> list[tuple[Any, ...]]:
    """Return what must be equal wherever the events came from."""
    return [(each.sequence, each.stored // 1000, each.subject, each.event) for each in found]


async def collected(events: Any) -> list[Recorded]:
    """Return all events of an asynchronous iteration."""
    return [each async for each in events]


async def test_the_same_events_from_everywhere(saved: Saved, asked: AsyncLog) -> None:
    """With every filter, the log, the archive and the read model give equal typed events, to `for` and to `async for`."""
    assert asked.db == saved.settings.db
    sizes = []
    for chosen in FILTERS:
        live = await collected(vmr.events_of(settings=saved.settings, **chosen))
        assert await asyncio.to_thread(list, vmr.events_of(settings=saved.settings, **chosen)) == live, chosen
        stored = await collected(vmr.events_of(saved.archive, **chosen))
        assert await asyncio.to_thread(list, vmr.events_of(saved.archive, **chosen)) == stored, chosen
        assert stored == live, chosen
        folded = await collected(vmr.events_of(saved.record, **chosen))
        about = [each for each in plain(folded) if each[3].type != "schedule.published"]  # there with its entries
        assert about == [each for each in plain(live) if each[3].type != "schedule.published"], chosen
        sizes.append(len(live))
    everything, web_7, *_ = sizes
    assert everything == 286
    assert web_7 == 7
    assert sizes[2:6] == [2, 40, 43, 2]
    assert sizes[6] == 21
    assert sizes[9] == 0


def test_events_are_typed(archive: Path) -> None:
    """Bodies are the event types, with bytes as bytes."""
    finished = [each.event.body for each in vmr.events_of(archive, types="vm.entry_finished")]
    assert [body.exit_code for body in finished if isinstance(body, EntryFinished)] == list(range(40))
    captured = next(iter(vmr.events_of(archive, types="vm.output_captured"))).event.body
    assert isinstance(captured, OutputCaptured)
    assert captured.data == b"\xff\x00"


async def test_leaving_early_closes_everything(saved: Saved, asked: AsyncLog) -> None:
    """A loop that is left, or cancelled, leaves no thread, no lock and no open file behind."""
    assert asked.db == saved.settings.db
    before = threading.active_count()
    for _ in range(3):
        for each in vmr.events_of(saved.archive):
            assert each.sequence == 1
            break
    async with aclosing(aiter(vmr.events_of(settings=saved.settings))) as events:
        assert (await anext(events)).sequence == 1
    task = asyncio.create_task(collected(vmr.events_of(saved.archive)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(len, "")
    assert threading.active_count() <= before + 2  # asyncio's own pool
    assert list(cache_folder().glob("*/events/*.parquet"))


def test_the_order_is_that_of_the_log(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over the borders of an archive's files, and of what is read at a time, however DuckDB's threads come along."""
    monkeypatch.setattr("vmr.replay.table._WINDOW", 130)
    for _ in range(60):
        found = [each.sequence for each in vmr.events_of(archive, types=["vm.added", "experiment.*", "schedule.*"])]
        assert found == sorted(set(found))
        assert len(found) == 45


def test_what_is_not_there_is_named(saved: Saved) -> None:
    """An unknown VM, a moment beyond the record, no moment at all, no such file."""
    for chosen, message in (
        ({"vm": "web-999"}, "no VM of this run"),
        ({"until": 999_999}, "the record goes from"),
        ({"since": "yesterday"}, "no moment"),
    ):
        with pytest.raises((InvalidInputError, QueryError), match=message):
            list(vmr.events_of(saved.archive, **chosen))
    with pytest.raises(InvalidInputError, match="no file"):
        list(vmr.events_of("nowhere.zip"))
