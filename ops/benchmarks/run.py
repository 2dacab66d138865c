"""Run benchmark families and print their rows: ``ops/bench NAME... [--json] [--events N]``, ``ops/bench all``, ``ops/bench --list``.

A family is a module of this folder with an ``async def measure() -> list[Row]``. It exits with 1 when a goal is missed and
``--check`` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import sys
from pathlib import Path

import msgspec
import structlog
from harness import Row, options
from rich.console import Console
from rich.table import Table

_NOT_FAMILIES = {"run", "harness", "scale"}


def families() -> list[str]:
    """Return the names of all families."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _NOT_FAMILIES)


def _show(rows: list[Row]) -> None:
    table = Table("bench", "metric", "value", "unit", "goal", "baseline", "ratio", "n", "spread", "met")
    for row in rows:
        sign = "≥" if row.goal.better == "more" else "≤"
        goals = [f"{sign} {row.goal.value:,g}"] if row.goal.value is not None else []
        goals += [f"ratio ≥ {row.goal.ratio:g}"] if row.goal.ratio is not None else []
        baseline = "" if row.baseline is None else f"{row.baseline:,.4g} ({row.baseline_name})"
        table.add_row(
            row.bench,
            row.metric,
            f"{row.value:,.4g}" if row.value < 10_000 else f"{row.value:,.0f}",
            row.unit,
            ", ".join(goals),
            baseline,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            str(row.n),
            f"{row.spread:.0%}",
            _verdict(row),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _verdict(row: Row) -> str:
    if row.met and row.value_met is False:
        return "ratio only"
    return {True: "yes", False: "NO", None: ""}[row.met]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ops/bench", description="Measure vmr next to its baselines.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(families())}; or all")
    parser.add_argument("--json", action="store_true", help="print one JSON array of rows")
    parser.add_argument(
        "--events",
        type=int,
        default=options.events,
        metavar="N",
        help="length of the longest history (default: %(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the families")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {*families(), "all"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(families())}, all")
    if not arguments.names and not arguments.list:
        parser.error(f"name a family: {', '.join(families())}; or all")
    return arguments


def main() -> int:
    """Run what the command line names."""
    arguments = _arguments()
    if arguments.list:
        print("\n".join(families()))
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    options.events = arguments.events
    names = families() if "all" in arguments.names else arguments.names
    rows: list[Row] = []
    for name in names:
        rows += asyncio.run(importlib.import_module(name).measure())
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode([row.as_json() for row in rows]), indent=2).decode())
    else:
        _show(rows)
    return int(arguments.check and any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
