"""When the experiment was launched, and when it starts: time 0 of every schedule, the same for everybody.

The start is the earliest start event of the run in the log. Whoever reports another one is told that one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from vmr.events import ExperimentCleared, ExperimentLaunched
from vmr.experiment_fold import ExperimentFold
from vmr.interface_settings import interface_settings
from vmr.log import AsyncLog
from vmr.shared_log import SharedLog


class ExperimentStart:
    """Launch and start of the experiment in one database. All times are UTC, aware, in whole seconds.

    Usable by many threads, in forked children and with ``with``. ``hostname``, ``port`` and ``db`` are those of `VMMapping`; so are
    the errors.
    """

    def __init__(self, hostname: str = "", port: int = 50051, db: str = "prod") -> None:
        self._shared = SharedLog(interface_settings(hostname, port, db))
        self.db = self._shared.db

    def __del__(self) -> None:
        """Give up this object's share in the connection."""
        if hasattr(self, "_shared"):
            self._shared.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shared_log(self) -> SharedLog:
        """This object's share in the process's connection."""
        return self._shared

    def close(self) -> None:
        """Give up this object's share in the connection; other objects keep theirs. Closing twice does nothing."""
        self._shared.close()

    def add_start_time(self) -> datetime:
        """Report the start: now and ``experiment_start_buffer_sec`` (a setting, 60 seconds by default). Return the start.

        The first report of a run is the start; any later one, by whoever, returns that.
        """
        fold, buffer = self._shared.kept(ExperimentFold), self._shared.settings.experiment_start_buffer_sec
        return _whole(self._shared.run(lambda log: fold.report_start(log, buffer)))

    def get_start_time(self) -> datetime | None:
        """Return the start, None before one is reported."""
        return self._times()[1]

    def set_launch_time(self) -> datetime:
        """Report that the experiment is launched now, in place of an earlier report; return the launch time."""
        fold = self._shared.kept(ExperimentFold)
        buffer = self._shared.settings.experiment_start_buffer_sec
        return self._shared.run(lambda log: _launch(log, fold, buffer))

    def get_launch_time(self) -> datetime | None:
        """Return the launch time, None before one is reported."""
        return self._times()[0]

    def clear_start_time(self) -> dict[str, str]:
        """Forget launch and start, so that the next reports count; return ``{}``."""
        self._shared.publish(ExperimentCleared(scope=("times",)))
        return {}

    def get_time_to_start(self) -> int | None:
        """Return the seconds from launch to start, None before both are known."""
        launch, start = self._times()
        return None if launch is None or start is None else int((start - launch).total_seconds())

    def get_time_since_start(self) -> int | None:
        """Return the seconds since the start, negative while it is still to come; None before it is known."""
        start = self.get_start_time()
        return None if start is None else int((datetime.now(UTC) - start).total_seconds())

    def _times(self) -> tuple[datetime | None, datetime | None]:
        fold = self._shared.kept(ExperimentFold)

        async def read(log: AsyncLog) -> tuple[datetime | None, datetime | None]:
            state = await fold.read(log)
            launch = None if state.launched is None else _whole(state.launched.launch_time)
            return launch, None if state.start is None else _whole(state.start)

        return self._shared.run(read)


def _whole(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)


async def _launch(log: AsyncLog, fold: ExperimentFold, buffer: float) -> datetime:
    now = _whole(datetime.now(UTC))
    launched = (await fold.read(log)).launched
    if launched is None:
        body = ExperimentLaunched(launch_time=now, start_buffer=buffer)
    else:  # only the time is new: what is launched stays
        body = msgspec.structs.replace(launched, launch_time=now)
    await log.publish(body)
    return now
