"""The stream is what its definition says: made so, mended where the server can, refused where it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from vmr.errors import LogUnavailableError, PublishError
from vmr.events import VmStateSet
from vmr.log import AsyncLog
from vmr.log._connection import Connection
from vmr.log._stream import StreamInfo, definition, differences, stream_info
from vmr.log._wire import Address, ApiRefusedError
from vmr.settings import Settings


async def test_a_new_stream_is_as_defined(log: AsyncLog) -> None:
    """Everything that the definition says is what the server reports."""
    info = await stream_info(log.connection, f"VMR_{log.db}")
    assert info is not None
    wanted = definition("stream.json", log.db)
    assert differences(wanted, info.config) == {}
    assert info.config["max_consumers"] == wanted["max_consumers"] > 1000
    assert info.config["num_replicas"] == 1


async def test_nobody_deletes_or_purges_events(log: AsyncLog) -> None:
    """The server itself refuses to forget."""
    await log.pause()
    name = f"VMR_{log.db}"
    with pytest.raises(ApiRefusedError, match="10110"):
        await log.connection.api(f"STREAM.PURGE.{name}", answer=dict[str, Any])
    with pytest.raises(ApiRefusedError, match="10057"):
        await log.connection.api(f"STREAM.MSG.DELETE.{name}", {"seq": 1}, answer=dict[str, Any])
    assert await log.last_sequence() == 1


async def _make(settings: Settings, **changes: Any) -> None:
    connection = await Connection.open(Address.from_settings(settings), name="test")
    config = definition("stream.json", settings.db) | changes
    await connection.api(f"STREAM.CREATE.{config['name']}", config, answer=StreamInfo)
    await connection.close()


async def test_a_setting_that_can_be_mended_is_mended(settings: Settings) -> None:
    """A stream that drops old events, or takes no batches, becomes a log when somebody connects."""
    await _make(settings, discard="old", allow_atomic=False, deny_purge=False)
    async with await AsyncLog.connect(settings) as log:
        info = await stream_info(log.connection, f"VMR_{log.db}")
        assert info is not None
        assert (info.config["discard"], info.config["allow_atomic"], info.config["deny_purge"]) == ("new", True, True)


async def test_a_setting_that_cannot_be_mended_is_an_error(settings: Settings) -> None:
    """Events in memory are no log; the error names the setting, what it is and what it must be."""
    await _make(settings, storage="memory")
    with pytest.raises(LogUnavailableError, match="storage is 'memory' and must be 'file'"):
        await AsyncLog.connect(settings)


async def test_an_operator_s_choices_stay(settings: Settings) -> None:
    """A limit in bytes and a description are the operator's."""
    await _make(settings, max_bytes=10_000_000, description="of the lab")
    async with await AsyncLog.connect(settings) as log:
        info = await stream_info(log.connection, f"VMR_{log.db}")
        assert info is not None
        assert (info.config["max_bytes"], info.config["description"]) == (10_000_000, "of the lab")


async def test_a_full_stream_says_so_at_once(settings: Settings) -> None:
    """No retry makes room; nothing old is dropped for it."""
    await _make(settings, max_bytes=2_000)
    async with await AsyncLog.connect(settings) as log:
        await log.pause()
        with pytest.raises(PublishError, match=r"the server refuses it: .*maximum bytes"):
            await log.publish_many([VmStateSet(server_uuid="u", state="failed", reason="x" * 1500)] * 2)
        assert await log.last_sequence() == 1
        assert await log.resume() == 2
