"""An archive as a read model, without any server: opened once, kept in a cache, asked like any other record.

The events stay where the archive has them, in Parquet: the table ``events`` of an opened archive is a view of these files, which costs
nothing to make, and everything else is folded from it by the SQL of ``projections/``. Both are kept in the user's cache folder, so
that the second question to an archive is answered at once.
"""

from __future__ import annotations

from vmr.opened.cache import Opened, opened

__all__ = ["Opened", "opened"]
