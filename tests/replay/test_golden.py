"""A run of the demo on real machines, archived with its seal: replayed and compared with it, for ever."""

from __future__ import annotations

from pathlib import Path

from vmr.clock import SystemClock
from vmr.events import Recorded
from vmr.replay.picture import Picture
from vmr.replay.player import Player
from vmr.replay.source import FileSource, open_table
from vmr.replay.verify import Way, verify
from vmr.settings import Settings

ARCHIVE = Path(__file__).parent / "golden" / "simple-server.zip"
SEAL = "56ff47517918508e"


def test_it_is_what_its_seal_says(tmp_path: Path) -> None:
    """Every table that is folded by the SQL of that day is what it was; at least some still are, or a new archive is due."""
    with open_table(str(ARCHIVE), Settings(home=tmp_path), folded=False) as table:
        verdict = verify(table, ways=(Way(20, 1), Way(1000, 2)))
    assert verdict.good, verdict
    assert verdict.sealed is not None
    assert verdict.sealed.startswith(SEAL)
    assert len(verdict.other_sql) < verdict.tables / 2, "most projections have changed: record the demo anew"


class Shown:
    """An audience that keeps a picture, and every event."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.told: list[int] = []

    async def tell(self, events: list[Recorded]) -> None:
        """Take the events in."""
        for each in events:
            self.picture.apply(each)
            self.told.append(each.sequence)

    async def jump(self, sequence: int) -> None:
        """Begin anew."""
        self.picture = Picture()


async def test_it_is_replayed(tmp_path: Path) -> None:
    """From its first event to its last, as fast as possible: four machines come up, are configured, and it ends."""
    with open_table(str(ARCHIVE), Settings(home=tmp_path)) as table:
        shown = Shown()
        source = FileSource(table)
        player = Player(
            source, shown, SystemClock(), first=source.first, last=source.last, speed=float("inf"), stepwise=False
        )
        await player.run()
    assert shown.told == list(range(1, 98))
    assert shown.picture.counts() == [("configured", 4)]
    assert shown.picture.name == "simple-server"
    assert shown.picture.ended
