"""How often a running program is looked at."""

from __future__ import annotations

from vmr import pace


def looks(duration: float, watched: int = 1) -> tuple[int, float]:
    """Return how many looks a program of ``duration`` seconds gets, and how long after its end the last one comes."""
    at = last = 0.0
    count = 0
    while at < duration:
        last = pace.next_pause(last, at, watched)
        at += last
        count += 1
    return count, at - duration


def test_the_end_is_noticed_soon() -> None:
    """Within a quarter of a second for programs of up to four seconds, then within a sixteenth of the duration."""
    for duration in (0.01, 0.1, 0.5, 1.0, 3.0):
        assert looks(duration)[1] <= 0.25
    for duration in (10.0, 60.0, 120.0):
        assert looks(duration)[1] <= duration / 16 + 0.01


def test_long_programs_cost_little() -> None:
    """An hour costs fewer looks than one each eight seconds and a hundred."""
    assert looks(3600)[0] < 3600 / 8 + 100


def test_many_programs_share_the_looks() -> None:
    """However many programs run, the handler looks about so often in all."""
    count, _ = looks(10.0, watched=3000)
    assert count * 3000 / 10 <= pace.LOOKS_PER_SECOND * 1.1
