"""Tables made anew: in big steps from events that are there already."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.histories import FAMILIES, histories
from tests.readmodel.tables import contents
from vmr import read_model
from vmr.event_columns import columns_of, insert
from vmr.projections import load_projections
from vmr.projector import Projector


@given(st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_folding_in_steps_is_folding(data: st.DataObject) -> None:
    """Whatever the log and the step: folding events that are there already gives the read model that has followed the log."""
    history = data.draw(histories(FAMILIES["everything"]))
    step = data.draw(st.integers(1, len(history) + 1))
    followed, loaded = Projector(), Projector()
    followed.apply(history)
    insert(loaded._connection, columns_of(history, 0))
    told: list[int] = []
    read_model.fold_all(loaded._connection, load_projections(), 1, len(history), step=step, tell=told.append)
    assert contents(loaded.reader()) == contents(followed.reader())
    assert told[-1] == len(history)
    assert told == sorted(told)
    followed.close()
    loaded.close()
