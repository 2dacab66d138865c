"""What a record comes to: hashes of what each projection holds of a run's own events, counted from 1 as run 1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import duckdb
import msgspec

from vmr.content_hash import content_hash
from vmr.events import Recorded, SealedProjection
from vmr.installed import tables_made_by
from vmr.projections import Projection, load_projections


def hashes_of(connection: duckdb.DuckDBPyConnection) -> tuple[SealedProjection, ...]:
    """Return what each projection with tables of its own holds in the read model of ``connection``.

    The events themselves are left out: their times of storing and their subjects are another database's after an import, and an
    archive has a hash chain over them.
    """
    return tuple(
        SealedProjection(one.name, one.hash, content_hash(connection, tables))
        for one in _hashed(load_projections())
        if (tables := tables_made_by(one))
    )


def _hashed(projections: Sequence[Projection]) -> Sequence[Projection]:
    return [one for one in projections if one.name != "events"]


def overall(hashes: Sequence[SealedProjection]) -> str:
    """Return one hash for all of ``hashes``."""
    return hashlib.sha256(msgspec.json.encode(hashes, order="sorted")).hexdigest()


def counted_from_one(batch: Sequence[Recorded], first: int) -> list[Recorded]:
    """Return ``batch``, of a run whose first event has the sequence ``first``, with sequences from 1."""
    return [msgspec.structs.replace(recorded, sequence=recorded.sequence - first + 1) for recorded in batch]
