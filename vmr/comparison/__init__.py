"""Two runs side by side: what is only in one, what ended, wrote or lasted differently, and whether that is within tolerances.

Executions match by name of the VM, id of the entry, and which execution of the entry it was; identities of VMs are new in every run.
What is compared is SQL (``projections/compare/``); only the first line that differs is found by `vmr.comparison.outputs`.
"""

from vmr.comparison.compare import compare
from vmr.comparison.model import Check, Comparison, Side, Tolerances
from vmr.comparison.page import write_page

__all__ = ["Check", "Comparison", "Side", "Tolerances", "compare", "write_page"]
