"""The hash of a table's content: equal for equal rows, different for anything else."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from tests.readmodel.histories import record
from vmr import events
from vmr.content_hash import content_hash
from vmr.errors import DataError
from vmr.projector import Projector


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty database that shows times in UTC."""
    with duckdb.connect() as made:
        made.execute("SET TimeZone = 'UTC'")
        yield made


def hash_of(connection: duckdb.DuckDBPyConnection, columns: str, rows: str) -> str:
    """Return the hash of a table of these columns and rows."""
    connection.execute(f"CREATE OR REPLACE TABLE t ({columns}); INSERT INTO t VALUES {rows}")  # noqa: S608 - a test's own
    return content_hash(connection, ["t"])["t"]


def test_order_does_not_count(connection: duckdb.DuckDBPyConnection) -> None:
    """Rows are a multiset."""
    one = hash_of(connection, "a INTEGER, b VARCHAR", "(1, 'x'), (2, 'y')")
    assert hash_of(connection, "a INTEGER, b VARCHAR", "(2, 'y'), (1, 'x')") == one


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ("a INTEGER, b VARCHAR", "(1, 'x'), (2, 'z')"),
        ("a INTEGER, b VARCHAR", "(1, 'x'), (2, 'y'), (2, 'y')"),
        ("a INTEGER, b VARCHAR", "(1, 'x')"),
        ("a BIGINT, b VARCHAR", "(1, 'x'), (2, 'y')"),
        ("a INTEGER, c VARCHAR", "(1, 'x'), (2, 'y')"),
    ],
)
def test_every_difference_counts(connection: duckdb.DuckDBPyConnection, columns: str, rows: str) -> None:
    """A value, a repeated row, a missing row, a type and a name."""
    assert hash_of(connection, columns, rows) != hash_of(connection, "a INTEGER, b VARCHAR", "(1, 'x'), (2, 'y')")


def test_texts_cannot_be_made_to_look_alike(connection: duckdb.DuckDBPyConnection) -> None:
    """What separates values may be in one, and a text may be called NULL."""
    rows = ["('a, b', 'c')", "('a', 'b, c')", "(NULL, 'c')", "('NULL', 'c')", "('', 'c')", "('''a', 'b''')"]
    assert len({hash_of(connection, "a VARCHAR, b VARCHAR", row) for row in rows}) == len(rows)


def test_repeated_pairs_do_not_cancel(connection: duckdb.DuckDBPyConnection) -> None:
    """Two equal rows are not two other equal rows."""
    assert hash_of(connection, "a INTEGER", "(1), (1)") != hash_of(connection, "a INTEGER", "(2), (2)")


def test_all_tables_of_a_read_model(projector: Projector) -> None:
    """Every table but the one that says how the read model was made; the views are not content."""
    projector.apply(record([events.VmAdded(server_uuid="1", server_name="web")]))
    found = content_hash(projector.reader())
    assert {"events", "log_cursor", "run_record"} < found.keys()
    assert not found.keys() & {"projections", "vms", "runs"}
    assert all(len(value) == 64 for value in found.values())


def test_wrong_use_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    """Times shown elsewhere than in UTC, and a table that is not there."""
    with pytest.raises(DataError, match="no table 'nothing'"):
        content_hash(connection, ["nothing"])
    connection.execute("SET TimeZone = 'Europe/Berlin'")
    with pytest.raises(DataError, match="shown in Europe/Berlin"):
        content_hash(connection)


@pytest.fixture
def projector() -> Iterator[Projector]:
    """Yield a projector whose read model is in memory."""
    made = Projector()
    yield made
    made.close()
