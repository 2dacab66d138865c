"""The notebook, run as Jupyter runs it. ``python -m tests.exports.notebook`` puts what its cells give into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "analysis.ipynb"


def read() -> Any:
    """Return the notebook as it is kept."""
    return nbformat.read(NOTEBOOK, 4)  # type: ignore[no-untyped-call]


def executed() -> Any:
    """Return the notebook with what its cells give now; raise where one of them fails."""
    notebook = read()
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        coalesce_streams=True,
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def outputs(notebook: Any) -> dict[str, Any]:
    """Return what stands below each cell, by the cell's id."""
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


if __name__ == "__main__":
    found = executed()
    found.metadata.language_info = {"name": "python"}
    nbformat.validate(found)
    nbformat.write(found, NOTEBOOK)  # type: ignore[no-untyped-call]
