"""Write docs/data-dictionary.md, every table and view of the read model, from the database itself.

``.venv/bin/python ops/generate_data_dictionary.py`` writes it; with ``--check`` it only says whether it is up to date (exit code 1:
it is not).
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

from vmr.installed import made_by
from vmr.past import tables_of
from vmr.projections import Projection, Query, load_projections, load_queries, load_questions
from vmr.projector import Projector

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data-dictionary.md"

HEAD = """\
# Data dictionary

Every table and view of the read model, as `vmr sql` sees them (see [querying](querying.md)). Written by
`ops/generate_data_dictionary.py` from the database; a test holds this page against it. Each part is one file of
[`projections/`](../projections). Read the views; the tables are what is folded for them. Views named `all_…` have every run, those
without it the current one.
"""


def page() -> str:
    """Return the page."""
    projector = Projector()
    try:
        connection = projector.reader()
        projections = load_projections()
        parts = [HEAD, *(_projection(connection, one, projections) for one in projections)]
    finally:
        projector.close()
    parts.append(_asked("Questions", "`vmr ask NAME`, or `log.query(NAME, …)`", load_questions()))
    parts.append(
        _asked("Queries", "What the interface asks for itself: `vmr ask NAME`, or `log.query(NAME, …)`", load_queries())
    )
    return "\n".join(parts)


def _projection(connection: duckdb.DuckDBPyConnection, projection: Projection, others: tuple[Projection, ...]) -> str:
    events = sorted({event for one in projection.folds for event in one.events})
    origin = "Every event." if projection.name == "events" else "Nothing is folded for it; it is read off other views."
    if events:
        origin = f"Folded from: {', '.join(f'`{event}`' for event in events)}."
    made = made_by(projection)
    views = {name for kind, name in made if kind == "VIEW"}
    known = {name for one in others for _, name in made_by(one)}
    # What people read comes first.
    ordered = sorted(made, key=lambda item: item[1] not in views)
    parts = [_object(connection, name, tables_of(projection, name) & known) for _, name in ordered]
    return "\n".join([f"## {projection.name}", "", projection.description, "", origin, "", *parts])


def _object(connection: duckdb.DuckDBPyConnection, name: str, reads: set[str]) -> str:
    ((kind, comment),) = connection.execute(
        "SELECT 'view', comment FROM duckdb_views() WHERE view_name = $1 AND NOT internal AND NOT temporary"
        " UNION ALL SELECT 'table', comment FROM duckdb_tables() WHERE table_name = $1",
        [name],
    ).fetchall()
    columns = connection.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = ? AND NOT internal ORDER BY column_index",
        [name],
    ).fetchall()
    lines = [f"### {name}", "", f"{_capital(kind)}. {comment}.", ""]
    if reads:
        lines += [f"Read off: {', '.join(f'`{one}`' for one in sorted(reads))}.", ""]
    lines += ["| column | type | |", "|---|---|---|"]
    lines += [f"| `{column}` | {_cell(type_)} | {_cell(text)} |" for column, type_, text in columns]
    return "\n".join([*lines, ""])


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _asked(title: str, how: str, queries: dict[str, Query]) -> str:
    lines = [f"## {title}", "", f"{how}.", "", "| name | question | parameters |", "|---|---|---|"]
    for query in queries.values():
        parameters = "<br>".join(f"`{name}`: {_cell(text)}" for name, text in query.parameters.items())
        lines.append(f"| `{query.name}` | {_cell(query.description)} | {parameters} |")
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    written = page()
    if "--check" not in arguments:
        PAGE.write_text(written, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == written:
        return 0
    print(f"{PAGE} is out of date: run {Path(__file__).name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
