"""Parquet, DuckDB and OpenMetrics: what others' readers find in them is what the read model says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pyarrow import parquet  # type: ignore[import-untyped]  # it has no types

from tests.exports.run_files import fold
from tests.readmodel.conftest import serving
from tests.readmodel.histories import record
from tests.readmodel.recorded_run import moment, recorded_run
from vmr import events, query_service
from vmr.archive import create_archive
from vmr.exports.of_run import export, export_run
from vmr.log import AsyncLog
from vmr.record import connect, open_run
from vmr.settings import Settings


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a read model with the recorded run only."""
    folder = tmp_path_factory.mktemp("run")
    fold(folder / "both.duckdb", recorded_run())
    with open_run(str(folder / "both.duckdb"), Settings(home=folder)) as path:
        yield path


def _objects(record: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """Return every table and view with its comment, and every column with its own."""
    return record.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' UNION ALL "
        "SELECT view_name, '', comment FROM duckdb_views() WHERE NOT internal UNION ALL "
        "SELECT table_name, '', comment FROM duckdb_tables() ORDER BY ALL"
    ).fetchall()


def _names(record: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in record.execute("SELECT name FROM (SHOW TABLES) ORDER BY name").fetchall()]


def _rows(record: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    return [row for (row,) in record.execute(f"SELECT t::VARCHAR FROM {source} AS t ORDER BY 1").fetchall()]  # noqa: S608


def test_duckdb_file_has_every_table_view_and_comment(run_file: Path, tmp_path: Path) -> None:
    """Any program that reads DuckDB finds the whole run in the one file, and vmr takes it as a record."""
    path = tmp_path / "it's.duckdb"
    assert export("duckdb", run_file, path) == "58 events of 4 VMs"
    assert [file.name for file in tmp_path.iterdir()] == ["it's.duckdb"]
    with duckdb.connect(str(path), read_only=True) as found, contextlib.closing(connect(run_file)) as wanted:
        found.execute("SET TimeZone = 'UTC'")
        assert _objects(found) == _objects(wanted)
        for name in _names(wanted):
            assert _rows(found, name) == _rows(wanted, name), name
    with open_run(str(path), Settings(home=tmp_path)) as again:
        assert again == path


async def test_duckdb_file_of_an_archive_needs_the_archive_no_more(
    log: AsyncLog, run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive's events lie in files of their own while it is open: the copy has them in itself, and is as any other."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with serving(query_service.main, log, "last_sequence"):
        await log.publish_recorded(recorded_run())
        await create_archive(log, None, tmp_path / "run.zip")
    path = tmp_path / "run.duckdb"
    await asyncio.to_thread(export_run, "duckdb", str(tmp_path / "run.zip"), log.settings, path)
    shutil.rmtree(tmp_path / "cache")
    with duckdb.connect(str(path), read_only=True) as found, contextlib.closing(connect(run_file)) as wanted:
        found.execute("SET TimeZone = 'UTC'")
        assert _objects(found) == _objects(wanted)
        for name in _names(wanted):
            same = "* EXCLUDE (subject)" if name == "events" else "*"  # it has the database's name in it
            query = f"(SELECT {same} FROM {name})"  # noqa: S608 - a table's name
            assert _rows(found, query) == _rows(wanted, query), name


@pytest.mark.parametrize("target", ["tables", "tables.zip"])
def test_parquet_has_a_file_for_every_table_and_view(run_file: Path, tmp_path: Path, target: str) -> None:
    """Another reader of Parquet finds the same rows; beside them is what the columns mean."""
    said = export("parquet", run_file, tmp_path / target)
    assert [file.name for file in tmp_path.iterdir()] == [target]
    folder = tmp_path / target
    if target.endswith(".zip"):
        folder = tmp_path / "unpacked"
        with zipfile.ZipFile(tmp_path / target) as packed:
            assert packed.testzip() is None
            packed.extractall(folder)
    described = json.loads((folder / "tables.json").read_bytes())
    with contextlib.closing(connect(run_file)) as wanted:
        names = _names(wanted)
        for name in names:
            assert _rows(wanted, f"'{folder}/{name}.parquet'") == _rows(wanted, name), name
    assert said == f"{len(names)} tables and views"
    assert {file.name for file in folder.iterdir()} == {
        *(f"{name}.parquet" for name in names),
        "tables.json",
        "README.md",
    }
    assert (described["run"], described["experiment"], described["last_sequence"]) == (2, "simple-server", 63)
    attempts = next(table for table in described["tables"] if table["name"] == "attempts")
    assert (attempts["kind"], attempts["rows"]) == ("view", 11)
    assert all(column["comment"] for table in described["tables"] for column in table["columns"])
    assert "| `attempts.parquet` | 11 | Every execution" in (folder / "README.md").read_text()


def test_parquet_is_compressed_and_typed(run_file: Path, tmp_path: Path) -> None:
    """Apache's own reader sees zstd, and times in UTC."""
    export("parquet", run_file, tmp_path / "tables")
    found = parquet.ParquetFile(tmp_path / "tables" / "attempts.parquet")
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert str(found.schema_arrow.field("started").type) == "timestamp[us, tz=UTC]"
    first = min(row["started"] for row in found.read().to_pylist() if row["started"])
    assert first == moment(-104)


def _families(path: Path) -> list[Metric]:
    return list(text_string_to_metric_families(path.read_text()))  # type: ignore[no-untyped-call]


def _metrics(path: Path) -> dict[str, dict[str, float]]:
    """Return the values of every metric by the value of its last label, as the strict parser of OpenMetrics reads them."""
    found: dict[str, dict[str, float]] = {}
    for family in _families(path):
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key not in {"run", "experiment"}}
            assert (sample.labels["run"], sample.labels["experiment"]) == ("2", "simple-server")
            assert sample.timestamp is not None
            assert float(str(sample.timestamp)) == moment(70).timestamp()
            found.setdefault(sample.name, {})[",".join(labels.values())] = sample.value
    return found


def test_openmetrics(run_file: Path, tmp_path: Path) -> None:
    """The numbers are those of the run, and each has the time of the run's last event."""
    export("openmetrics", run_file, tmp_path / "run.txt")
    found = _metrics(tmp_path / "run.txt")
    assert found["vmr_vms"] == {"configured": 3, "failed": 1}
    assert found["vmr_vms_ready"] == {"": 4}
    assert found["vmr_vms_waived"] == {"": 1}
    assert found["vmr_entries"] == {
        "succeeded": 6, "exit_code_not_zero": 1, "failed": 1, "lost": 1, "running": 1, "never_ran": 1,
    }  # fmt: skip
    assert found["vmr_attempts"] == {"finished": 8, "failed": 1, "lost": 1, "running": 1}
    assert found["vmr_barrier_seconds"] == {"": 44}
    assert found["vmr_configuration_seconds"] == {"": 60}
    assert found["vmr_start_timestamp_seconds"] == {"": moment(0).timestamp()}
    assert found["vmr_output_bytes_total"] == {"stdout": 30, "stderr": 39}
    assert found["vmr_events_total"]["vm.added"] == 4
    assert found["vmr_reboots_total"] == {"": 2}
    assert found["vmr_transferred_bytes_total"] == {"": 42}
    assert found["vmr_anomalies_total"]["absent VM"] == 0


def test_histograms(run_file: Path, tmp_path: Path) -> None:
    """How late, how long: buckets up to the longest, and their sums."""
    export("openmetrics", run_file, tmp_path / "run.txt")
    found = _metrics(tmp_path / "run.txt")
    late, long = found["vmr_entry_lateness_seconds_bucket"], found["vmr_entry_duration_seconds_bucket"]
    assert (late["0.001"], late["0.5"], late["5.0"], late["+Inf"]) == (5, 6, 7, 7)
    assert (long["0.1"], long["0.5"], long["2.0"], long["+Inf"]) == (0, 4, 6, 9)
    assert found["vmr_entry_lateness_seconds_sum"] == {"": 3.75}
    assert found["vmr_entry_duration_seconds_count"] == {"": 9}


def test_openmetrics_of_next_to_nothing(tmp_path: Path) -> None:
    """A run that was never launched, with names that are none: what is not known is left out, and the text is still OpenMetrics."""
    odd = events.VmAdded(server_uuid="u", server_name="n", state='a"b\\c\nd')
    export("openmetrics", fold(tmp_path / "run.duckdb", record([odd])), tmp_path / "run.txt")
    families = {family.name: family for family in _families(tmp_path / "run.txt")}
    (state,) = families["vmr_vms"].samples
    assert (state.labels["state"], state.labels["experiment"], state.value) == ('a"b\\c\nd', "", 1)
    assert families["vmr_barrier_seconds"].samples == []
