"""Records and their reports, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report import records
from vmr.report import write_report


@pytest.fixture(scope="session")
def large_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the read model of a run with 3,003 VMs."""
    return records.write(tmp_path_factory.mktemp("large") / "run.duckdb", records.large())


@pytest.fixture(scope="session")
def large_report(large_record: Path) -> Path:
    """Return the report of that run."""
    path = large_record.with_name("report.html")
    write_report(large_record, path)
    return path


@pytest.fixture(scope="session")
def hostile_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the read model of a run whose guests mean harm."""
    return records.write(tmp_path_factory.mktemp("hostile") / "run.duckdb", records.hostile())


@pytest.fixture(scope="session")
def hostile_report(hostile_record: Path) -> Path:
    """Return the report of that run."""
    path = hostile_record.with_name("report.html")
    write_report(hostile_record, path)
    return path
