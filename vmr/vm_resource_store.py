"""`VmResourceStore`: the files that schedules put into VMs."""

from __future__ import annotations

from vmr.file_store import FileStore
from vmr.log import DEFAULT_STORE


class VmResourceStore(FileStore):
    """The files that schedules name, readable on all hosts of an experiment; see `FileStore` for its methods.

    Handlers take files from the default store.

    Args:
        store: name of the store; each is a namespace of its own.
        decompress: whether `get_path` unpacks ``.xz`` and ``.tar.gz`` files, and returns the path of what was in them.

    """

    def __init__(self, store: str = DEFAULT_STORE, decompress: bool = False) -> None:  # noqa: FBT001, FBT002 - the documented interface
        super().__init__(store, decompress)
