"""A run as numbers in OpenMetrics' text format: how many VMs and entries came to which end, how late, how long.

Prometheus itself, VictoriaMetrics, Grafana Mimir and the like read it. Every sample names run and experiment, so that many runs may lie
side by side, and bears the time of the run's last event, so that ``promtool tsdb create-blocks-from openmetrics`` takes it as history.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import duckdb
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from vmr import __version__
from vmr.exports.sql import rows_of
from vmr.record import Tell

_GAUGES: Final = {
    "vmr_vms": ("VMs by state, at the end", "state"),
    "vmr_vms_ready": ("VMs that the start does not wait for, at the end", None),
    "vmr_vms_waived": ("VMs that the experiment went on without", None),
    "vmr_entries": ("Schedule entries by what became of them", "outcome"),
    "vmr_attempts": ("Executions of entries by how they ended", "status"),
    "vmr_barrier_seconds": ("From the first VM being ready to the last", None),
    "vmr_configuration_seconds": ("From the launch to the last VM being ready", None),
    "vmr_start_timestamp_seconds": ("The start of the experiment", None),
    "vmr_end_timestamp_seconds": ("The end of the experiment", None),
}
_COUNTERS: Final = {
    "vmr_events": ("Events by type", "type"),
    "vmr_anomalies": ("Events that contradict what came before them, or are not known, by kind", "kind"),
    "vmr_output_bytes": ("Bytes that programs wrote, by stream", "stream"),
    "vmr_transfers": ("Files copied out of guests", None),
    "vmr_transferred_bytes": ("Bytes of the files copied out of guests", None),
    "vmr_reboots": ("Reboots of guests", None),
}
_HISTOGRAMS: Final = {
    "vmr_entry_lateness_seconds": "From when an execution was due to when it began; what has no clock time is not counted",
    "vmr_entry_duration_seconds": "How long executions ran",
}
_OF_RUN: Final = ("experiment", "run")


def write(record: duckdb.DuckDBPyConnection, part: Path, tell: Tell) -> str:
    """Write the numbers of the run that ``record`` has attached to ``part`` (see `vmr.exports.export`)."""
    tell(0, 1)
    registry = CollectorRegistry()
    summary = _Summary(record)
    registry.register(summary)
    part.write_bytes(generate_latest(registry))  # type: ignore[no-untyped-call]
    tell(1, 1)
    return f"{len(_GAUGES) + len(_COUNTERS) + len(_HISTOGRAMS) + 1} metrics"


class _Summary(Collector):
    """The metrics of one run."""

    def __init__(self, record: duckdb.DuckDBPyConnection) -> None:
        (self._run,) = rows_of(record, "run")
        self._numbers = rows_of(record, "metrics")
        self._buckets = rows_of(record, "histograms")
        self._labels = [self._run["name"] or "", str(self._run["run"])]
        last = self._run["last"]
        self._time = None if last is None else last / 1e6

    def describe(self) -> list[Metric]:
        """Return nothing: the metrics are made once, when they are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        about = InfoMetricFamily("vmr_run", "The run", labels=_OF_RUN)
        about.add_metric(self._labels, {"guests": self._run["guests"] or "", "vmr": __version__}, self._time)
        yield about
        for name, (text, label) in _GAUGES.items():
            yield self._filled(GaugeMetricFamily(name, text, labels=_labels(label), unit=_unit(name)), name)
        for name, (text, label) in _COUNTERS.items():
            yield self._filled(CounterMetricFamily(name, text, labels=_labels(label), unit=_unit(name)), name)
        for name, rows in groupby(self._buckets, key=lambda row: str(row["metric"])):
            yield self._histogram(name, list(rows))

    def _filled(self, family: GaugeMetricFamily | CounterMetricFamily, name: str) -> Metric:
        for row in self._numbers:
            if row["metric"] == name and row["value"] is not None:
                label = [] if row["label"] is None else [row["label"]]
                family.add_metric([*self._labels, *label], row["value"], timestamp=self._time)
        return family

    def _histogram(self, name: str, rows: list[dict[str, Any]]) -> Metric:
        family = HistogramMetricFamily(name, _HISTOGRAMS[name], labels=_OF_RUN, unit="seconds")
        buckets = [(_bound(row["bound"]), row["executions"]) for row in rows]
        family.add_metric(self._labels, buckets, rows[0]["sum"], self._time)
        return family


def _labels(label: str | None) -> tuple[str, ...]:
    return _OF_RUN if label is None else (*_OF_RUN, label)


def _unit(name: str) -> str:
    return next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), "")


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(float(value))
