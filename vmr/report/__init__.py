"""``vmr report``: a run as one HTML file that says everything about it and needs nothing else: no server, no network, no vmr.

What is static (summary, barrier, anomalies, questions) is HTML, written by Jinja. What has thousands of rows is drawn by the page's own
script from compressed data in the page: `parts` packs it, ``static/record.js`` reads it.
"""

from __future__ import annotations

from vmr.report._write import write_report

__all__ = ["write_report"]
