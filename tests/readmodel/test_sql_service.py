"""SQL from people: what is answered and how, what is refused, and where the limits are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.readmodel.histories import record
from vmr import events
from vmr.errors import DataError, QueryError
from vmr.log import AsyncLog
from vmr.offline import OfflineReader, open_offline
from vmr.projector import Projector
from vmr.query import Answer

HOSTILE = [
    "INSERT INTO events SELECT * FROM events",
    "UPDATE log_cursor SET seq = 0",
    "DELETE FROM events",
    "TRUNCATE events",
    "MERGE INTO vm USING vm AS b ON true WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM events RETURNING seq) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM events",
    "DROP TABLE events",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "ALTER TABLE events DROP COLUMN body",
    "COPY events TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO '/tmp/stolen.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '/tmp/stolen'",
    "ATTACH '/tmp/other.duckdb'",
    "SELECT * FROM '/tmp/other.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 64",
    "RESET memory_limit",
    "PRAGMA enable_profiling",
    "SET VARIABLE batch_first = 0",
    "CALL pragma_version()",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'https://example.org/x.parquet'",
    "SELECT * FROM query('DELETE FROM events')",
    "BEGIN",
    "COMMIT",
    "CHECKPOINT",
    "VACUUM",
    "USE temp",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DETACH memory",
    "COMMENT ON TABLE events IS 'mine'",
    "SELECT 1; DELETE FROM events",
    "SELECT 1) AS q(c0); DELETE FROM events; --",
    "SELECT * FROM reader",
    "",
    "SELECT FROM WHERE",
    "IMPORT DATABASE '/tmp'",
    "INSERT OR REPLACE INTO vm SELECT * FROM vm",
    "CREATE OR REPLACE VIEW vms AS SELECT 1",
    "CREATE SCHEMA mine",
    "CREATE SEQUENCE mine",
    "CREATE INDEX mine ON events (seq)",
    "CREATE SECRET mine (TYPE s3)",
    "CREATE TYPE mine AS ENUM ('a')",
    "DROP VIEW vms",
    "DROP SCHEMA vmr_past CASCADE",
    "CREATE TABLE vmr_past.main.mine AS SELECT 1",
    "INSERT INTO vmr_past.main.mine SELECT 1",
    "ATTACH ':memory:' AS mine",
    "DETACH vmr_past",
    "COPY FROM DATABASE vmr_past TO memory",
    "LOAD '/tmp/mine.duckdb_extension'",
    "SET lock_configuration = false",
    "SET GLOBAL enable_external_access = true",
    "PRAGMA lock_configuration = false",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_ndjson_objects('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM read_duckdb('/tmp/other.duckdb')",
    "SELECT content FROM read_text('/proc/self/cmdline')",
    "FROM '/tmp/x.csv'",
    "SELECT getenv('HOME')",
    "WITH x AS (INSERT INTO log_cursor VALUES (1, 1) RETURNING *) FROM x",
    "EXPLAIN ANALYZE INSERT INTO log_cursor VALUES (1, 1)",
    "START TRANSACTION",
    "ROLLBACK",
    "FORCE CHECKPOINT",
    "SELECT 1; SELECT 2",
]


@pytest.fixture(scope="module")
def read_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a small read model on disk."""
    path = tmp_path_factory.mktemp("read_model") / "read_model.duckdb"
    projector = Projector(path)
    projector.apply(
        record([events.VmAdded(server_uuid="a", server_name="host.net"), events.VmRemoved(server_uuid="b")])
    )
    projector.close()
    return path


@pytest.fixture
def offline(read_model: Path) -> OfflineReader:
    """Return its locked-down face."""
    return open_offline(read_model)


@pytest.mark.parametrize("sql", HOSTILE)
def test_offline_refuses_what_does_not_only_read(offline: OfflineReader, sql: str) -> None:
    """Nothing but one statement that reads the read model is let through, and the next question is answered."""
    with offline, pytest.raises(QueryError):
        offline.sql(sql)


async def test_the_service_refuses_the_same_and_stays(people: AsyncLog) -> None:
    """Where the database is open for writing by the projector beside, people still cannot write, and the next is answered."""
    await people.publish(events.VmAdded(server_uuid="a", server_name="host.net"))
    for sql in HOSTILE:
        with pytest.raises(QueryError):
            await people.query("sql", {"sql": sql})
    assert (await people.query("sql", {"sql": "SELECT count(*) FROM events"})).rows == [(1,)]
    await people.publish(events.VmAdded(server_uuid="b", server_name="b"))
    assert (await people.query("sql", {"sql": "SELECT count(*) FROM vms"})).rows == [(2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT server_name FROM vms -- all of them",
        "FROM vms SELECT server_name;",
        "WITH v AS (SELECT * FROM vms) SELECT server_name FROM v",
        "VALUES ('host.net')",
        "SELECT server_name FROM vms WHERE server_uuid = $uuid",
    ],
)
def test_ways_to_read(offline: OfflineReader, sql: str) -> None:
    """What reads is answered, with a comment or a semicolon at the end and with parameters."""
    with offline:
        assert offline.sql(sql, {"uuid": "a"} if "$" in sql else None).rows == [("host.net",)]


@pytest.mark.parametrize("sql", ["DESCRIBE vms", "SHOW TABLES", "SUMMARIZE vm", "EXPLAIN SELECT * FROM vms"])
def test_ways_to_look_around(offline: OfflineReader, sql: str) -> None:
    """The schema and plans can be looked at."""
    with offline:
        assert offline.sql(sql).rows


def test_types_survive(offline: OfflineReader) -> None:
    """What JSON has no form for arrives as text that loses nothing, with the type's name."""
    sql = (
        r"SELECT TIMESTAMPTZ '2026-01-31 12:00:00.123456+00' AS a, 1.10::DECIMAL(9, 2) AS b, 170141183460469231731687303715884105727::HUGEINT AS c,"
        r" '\xFF\x00a'::BLOB AS d, {'k': [1, NULL]} AS e, 'nan'::DOUBLE AS f, '-inf'::DOUBLE AS g, NULL AS h, true AS i, 0.1::DOUBLE AS j,"
        r" DATE '2026-01-31' AS k, '00000000-0000-0000-0000-000000000001'::UUID AS l, 9007199254740993 AS m, 1 AS a"
    )
    with offline:
        answer = offline.sql(sql)
    assert answer.columns == (*"abcdefghijklm", "a_1")
    assert answer.rows == [
        (
            "2026-01-31T12:00:00.123456Z",
            "1.10",
            "170141183460469231731687303715884105727",
            "/wBh",
            '{"k":[1,null]}',
            "NaN",
            "-Infinity",
            None,
            True,
            0.1,
            "2026-01-31",
            "00000000-0000-0000-0000-000000000001",
            9007199254740993,
            1,
        )
    ]
    assert answer.types[:5] == ("TIMESTAMP WITH TIME ZONE", "DECIMAL(9,2)", "HUGEINT", "BLOB", "STRUCT(k INTEGER[])")


def test_rows_are_limited_in_the_order_asked_for(offline: OfflineReader) -> None:
    """The limit takes the first rows of the order, and the answer says that there were more."""
    with offline:
        answer = offline.sql("SELECT i FROM range(1000) t(i) ORDER BY i DESC", limit=3)
        assert answer == Answer(2, ("i",), [(999,), (998,), (997,)], ("BIGINT",), truncated=True)
        assert not offline.sql("SELECT 1", limit=1).truncated


_ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE hash(a.range, b.range) % 7 = 1"


def test_time_is_limited_offline(offline: OfflineReader) -> None:
    """A statement that takes too long is stopped, and the next is answered."""
    with offline:
        begun = time.monotonic()
        with pytest.raises(QueryError, match=r"took longer than 0\.3 s"):
            offline.sql(_ENDLESS, timeout=0.3)
        assert time.monotonic() - begun < 5
        assert offline.sql("SELECT 1").rows == [(1,)]


async def test_time_is_limited_in_the_service(people: AsyncLog) -> None:
    """An endless statement ends at its deadline, while others are answered and the log is followed."""
    with pytest.raises(QueryError, match="took longer than"):
        await people.query("sql", {"sql": _ENDLESS}, timeout=0.5)
    await people.publish(events.VmAdded(server_uuid="a", server_name="a"))
    assert (await people.query("sql", {"sql": "SELECT count(*) FROM vms"})).rows == [(1,)]


def test_memory_is_limited(offline: OfflineReader) -> None:
    """A statement that wants more memory than there is fails, and the next is answered."""
    with offline:
        with pytest.raises(QueryError):
            offline.sql("SELECT list(i) FROM range(1000000000) t(i)", timeout=20)
        assert offline.sql("SELECT 1").rows == [(1,)]


@pytest.mark.parametrize("params", [{}, {"sql": 5}, {"sql": "SELECT 1", "limits": 5}])
async def test_malformed_parameters_are_refused(people: AsyncLog, params: dict[str, object]) -> None:
    """A question without a statement, or with parameters that there are not, says what to send."""
    with pytest.raises(QueryError, match="send sql"):
        await people.query("sql", params)


def test_no_read_model_there(tmp_path: Path) -> None:
    """A missing file and a file that is something else are told apart."""
    with pytest.raises(DataError, match="nothing has been recorded"):
        open_offline(tmp_path / "none.duckdb")
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(DataError, match="cannot be opened"):
        open_offline(tmp_path / "text")
