"""The golden archive, folded: what the tables hold, as hashes that are kept beside it.

``python -m tests.archive.folded`` writes them anew. That is right after a projection was changed on purpose, and at no other time:
a recorded run never changes, so a different hash is a different answer to the same questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from vmr.archive import open_archive
from vmr.content_hash import content_hash
from vmr.projector import Projector, whole

GOLDEN = Path(__file__).parent / "golden"
ARCHIVE = GOLDEN / "simple-server.zip"
HASHES = GOLDEN / "simple-server.json"


def folded(path: Path, *, threads: int = 2, step: int | None = None) -> dict[str, str]:
    """Return the content hash of every table that the archive at ``path`` folds to, ``step`` events at a time."""
    projector = Projector(threads=threads)
    with open_archive(path) as archive, contextlib.closing(projector):
        projector.begin(archive.manifest.first, archive.manifest.run)
        for batch in archive.recorded():
            events = [asyncio.run(whole(archive, recorded)) for recorded in batch]
            size = step or len(events)
            for start in range(0, len(events), size):
                projector.apply(events[start : start + size])
        return content_hash(projector.reader())


def main() -> None:
    """Write the hashes of today's projections."""
    HASHES.write_text(json.dumps(folded(ARCHIVE), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
