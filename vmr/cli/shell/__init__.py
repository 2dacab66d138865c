"""The SQL shell of ``vmr sql`` and ``vmr open``: `run_shell` for whoever has something to ask, a `Reader`."""

from vmr.cli.shell.interactive import run_shell
from vmr.cli.shell.readers import Reader

__all__ = ["Reader", "run_shell"]
