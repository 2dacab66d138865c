"""Benchmarks of ``vmr report``: how long a report of 3,003 VMs takes to write, and until it can be used in Chromium.

From navigation to interactive is by the browser's own clock: from its navigation start until the timeline is drawn and the filters,
the timeline and the list of VMs answer. The baseline of the file's size is what it holds, as JSON, uncompressed.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness import Goal, Row, row

sys.path.append(str(Path(__file__).parents[2]))
from tests.report import records  # the same record as the tests look at
from vmr.errors import GuestSetupError
from vmr.report import write_report

_TIMES = 3
_PART = re.compile(rb'<script type="application/octet-stream"[^>]*>([^<]*)</script>')
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


async def measure() -> list[Row]:
    """Return the rows of this family."""
    return await asyncio.to_thread(_measure)


def _measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="vmr-bench-") as folder:
        record, report = Path(folder) / "run.duckdb", Path(folder) / "report.html"
        records.write(record, records.large())
        written = [_seconds_to_write(record, report) for _ in range(_TIMES)]
        held = sum(len(gzip.decompress(base64.b64decode(part))) for part in _PART.findall(report.read_bytes()))
        opened = [_seconds_to_use(report) for _ in range(_TIMES)]
        return [
            row("report", "write_3003_s", "s", written, goal=Goal(value=15, better="less")),
            row(
                "report",
                "file_3003_mb",
                "MB",
                [report.stat().st_size / 1e6],
                goal=Goal(ratio=2, better="less"),
                baseline=[held / 1e6],
                baseline_name="what it holds, as JSON",
            ),
            row("report", "interactive_3003_s", "s", opened, goal=Goal(value=3, better="less")),
        ]


def _seconds_to_write(record: Path, report: Path) -> float:
    begun = time.perf_counter()
    write_report(record, report, overwrite=True)
    return time.perf_counter() - begun


def _seconds_to_use(report: Path) -> float:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this family needs it

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise GuestSetupError("the report is opened in Chromium, which is missing. Run ops/packages --tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(report.as_uri(), wait_until="commit")
            page.wait_for_selector("html[data-ready][data-drawn]")
            # Who types a name sees the VMs of that name in the next picture.
            return float(
                page.evaluate("""async () => {
                    const name = document.getElementById("name");
                    name.value = "router-2";
                    name.dispatchEvent(new Event("input"));
                    await new Promise(requestAnimationFrame);
                    return performance.now() / 1000;
                }""")
            )
        finally:
            browser.close()
