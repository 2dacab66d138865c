"""Tables of a moment that are views of the present ones: what folding the events up to there would have made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readmodel.histories import FAMILIES, histories, record
from tests.readmodel.tables import empty
from tests.readmodel.test_projector import VMS, _copy_with
from vmr.installed import made_by
from vmr.past import Past
from vmr.projections import load_projections
from vmr.projector import Projector

TABLES = [name for one in load_projections()[1:] for kind, name in made_by(one) if kind == "TABLE"]
LOOKED_BACK_AT = ("attempts", "output", "handlers", "everything")


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Projector, Projector]]:
    """Yield a projector for the whole of a history and one that follows it event by event; both are emptied before every use."""
    projectors = (Projector(), Projector())
    yield projectors
    for projector in projectors:
        projector.close()


def _rows(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the columns with their types, and the rows, of every table, as the default schema has them."""
    return {
        name: (
            connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {name})").fetchall(),  # noqa: S608 - a name
            connection.execute(f"SELECT t::VARCHAR FROM {name} AS t ORDER BY 1").fetchall(),  # noqa: S608 - a name
        )
        for name in TABLES
    }


@pytest.mark.parametrize("family", LOOKED_BACK_AT)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_moment_is_what_the_fold_was(pair: tuple[Projector, Projector], family: str, data: st.DataObject) -> None:
    """Whatever the log, and however it was cut into batches: the tables as of an event are those of a fold up to there."""
    whole, following = pair
    history = data.draw(histories(FAMILIES[family]))
    moments = data.draw(st.sets(st.integers(0, len(history)), min_size=3, max_size=4))
    for projector in pair:
        empty(projector)
    batch = data.draw(st.integers(1, len(history)))
    for first in range(0, len(history), batch):
        whole.apply(history[first : first + batch])
    past, connection = Past(whole.reader()), whole.reader()
    for moment in sorted(moments):
        following.apply(history[following.cursor : moment])
        with past.at(connection, moment, " ".join(TABLES)):
            assert _rows(connection) == _rows(following.reader())
    connection.execute("DETACH vmr_past")


def test_what_tells_its_past_is_looked_at_and_not_copied(projector: Projector) -> None:
    """Tables that grow with the log take no memory for a moment, and a moment stays what it was when the log goes on."""
    projector.apply(record(VMS))
    past, connection = Past(projector.reader()), projector.reader()
    found = "SELECT (SELECT count(*) FROM attempt), (SELECT count(*) FROM vm)"
    for length in (20, 40):
        projector.apply(record(VMS * 2)[:length])
        with past.at(connection, 10, found):
            assert connection.execute(found).fetchall() == [(0, 10)]
            kinds = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 's10' AND table_name IN ('vm', 'attempt') ORDER BY 1"
            assert connection.execute(kinds).fetchall() == [("attempt", "VIEW"), ("vm", "BASE TABLE")]


def test_tables_of_another_fold_are_not_looked_at(tmp_path: Path) -> None:
    """Where the present tables were folded by another text, they may tell another past: it is folded from the events."""
    fold = "INSERT INTO extra SELECT seq FROM batch WHERE type = 'vm.added';\n\n-- section: as of\nCREATE VIEW extra AS SELECT {}seq AS seq FROM $present.extra WHERE seq <= $sequence;\n"
    _copy_with(tmp_path / "old", "99_extra.sql", fold.format(""), "vm.added")
    _copy_with(tmp_path / "new", "99_extra.sql", fold.format("-"), "vm.added")
    projector = Projector(folder=tmp_path / "old")
    projector.apply(record(VMS))
    for folder, found in (("old", [(1,), (2,)]), ("new", [(1,), (2,)])):
        past, connection = Past(projector.reader(), load_projections(tmp_path / folder)), projector.reader()
        with past.at(connection, 2, "extra"):
            assert connection.execute("SELECT seq FROM extra ORDER BY abs(seq)").fetchall() == found
        connection.execute("DETACH vmr_past")
    projector.close()
