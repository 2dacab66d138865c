"""A run of the demo that was recorded once is whole, and folds to the same tables, for ever."""

from __future__ import annotations

import json

from tests.archive.folded import ARCHIVE, HASHES, folded
from vmr.archive import open_archive, verify_archive
from vmr.events import BODY_TYPES, Unknown


def test_the_golden_archive_is_whole() -> None:
    """Its chain is the one that was noted when it was taken."""
    verdict = verify_archive(ARCHIVE)
    assert verdict.whole
    assert verdict.chain == "e75ffaf294276b0de9a1f4a43c05349e5f54a8469adfa7c429a5e3e94df9af77"


def test_every_event_of_it_is_known() -> None:
    """Events of years ago are still what they were."""
    with open_archive(ARCHIVE) as archive:
        events = [one.event for batch in archive.recorded() for one in batch]
        assert archive.experiment is not None
    assert len(events) == archive.manifest.events
    assert not [event for event in events if isinstance(event.body, Unknown)]
    assert {event.type for event in events} == archive.manifest.counts.keys() <= BODY_TYPES.keys()


def test_it_folds_to_the_tables_that_were_recorded() -> None:
    """At once, and one event at a time in one thread. After a projection was changed: `python -m tests.archive.folded`."""
    recorded = json.loads(HASHES.read_text(encoding="utf-8"))
    assert folded(ARCHIVE) == recorded
    assert folded(ARCHIVE, threads=1, step=1) == recorded
