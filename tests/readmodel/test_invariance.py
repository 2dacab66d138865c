"""Folds give the same tables however the log is cut into batches, and with any number of threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.histories import FAMILIES, histories
from tests.readmodel.tables import contents, empty
from vmr.events import BODY_TYPES, KnownBody, Recorded
from vmr.projector import Projector


@pytest.fixture(scope="module")
def projectors() -> Iterator[list[Projector]]:
    """Yield a projector with one thread, one with two, and a prompt one; they are emptied before every use."""
    some = [Projector(threads=1), Projector(threads=2), Projector(threads=1, prompt=True)]
    yield some
    for projector in some:
        projector.close()


def _folded(projector: Projector, history: list[Recorded], cuts: list[int]) -> dict[str, list[str]]:
    empty(projector)
    for begin, end in zip([0, *cuts], [*cuts, len(history)], strict=True):
        projector.apply(history[begin:end])
    return contents(projector.reader())


def test_random_histories_hold_every_event_type() -> None:
    """No event type is left out of the property below."""
    assert {body for family in FAMILIES.values() for body in family} == set(BODY_TYPES.values())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_tables_do_not_depend_on_batches_or_threads(
    projectors: list[Projector], family: tuple[type[KnownBody], ...], data: st.DataObject
) -> None:
    """One by one, all at once and cut at random, with one thread, with two, and promptly: equal content of every table."""
    one, two, prompt = projectors
    history = data.draw(histories(family))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(history)), max_size=4)))
    at_once = _folded(one, history, [])
    assert _folded(one, history, list(range(1, len(history)))) == at_once
    assert _folded(two, history, cuts) == at_once
    assert _folded(prompt, history, list(range(1, len(history)))) == at_once
    assert _folded(prompt, history, cuts) == at_once
