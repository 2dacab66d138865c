"""The read model as a file to take away: for DBeaver, Harlequin, notebooks, or a colleague.

The services hold their read models open, and DuckDB lets nobody else look at those. So a snapshot is folded from the log anew, or,
when nothing runs, copied from what lies on disk.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vmr import new_files
from vmr.errors import InvalidInputError
from vmr.offline import open_offline
from vmr.projector import Projector, begin_with, fold_log

if TYPE_CHECKING:
    from vmr.log import AsyncLog


async def from_log(log: AsyncLog, path: Path) -> int:
    """Fold everything that ``log`` holds now into a new read model at ``path``, and return its last sequence.

    Raises `InvalidInputError` when there is a file already, or none can be written.
    """
    with _new(path) as part:
        projector = await begin_with(Projector(part), log)
        try:
            await fold_log(projector, log)
        finally:
            projector.close()
        last: int = projector.cursor
        return last


def from_file(record: Path, path: Path) -> int:
    """Copy the read model ``record``, which nobody has open, to ``path``, and return its last sequence.

    Raises `InvalidInputError` when there is a file already, or none can be written, `DataError` when somebody has ``record`` open.
    """
    # Who has it open for reading keeps writers out meanwhile.
    with open_offline(record), _new(path) as part:
        shutil.copyfile(record, part)
        unfinished = record.with_name(f"{record.name}.wal")
        if unfinished.is_file():
            shutil.copyfile(unfinished, _wal(part))
        projector = Projector(part)
        projector.close()
        last: int = projector.cursor
        return last


@contextlib.contextmanager
def _new(path: Path) -> Iterator[Path]:
    """Yield where to write what becomes the file ``path`` once it is whole."""
    if path.exists():
        raise InvalidInputError(f"{path} is there already; remove it, or give another name")
    with new_files.writing(path, force=False) as part:
        yield part


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")
