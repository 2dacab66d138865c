"""``python -m vmr``: the command line."""

from __future__ import annotations

import sys

from vmr.cli import main

sys.exit(main())
