"""The notebooks run from an empty folder, and what is committed is small and clean."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted(
    (Path(__file__).resolve().parents[2] / "docs" / "notebooks").glob("*.ipynb")
)

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    bin_folder = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    book = nbformat.read(notebook, as_version=4)
    NotebookClient(
        book, timeout=600, resources={"metadata": {"path": tmp_path}}
    ).execute()
    for ran, kept in zip(book.cells, nbformat.read(notebook, 4).cells, strict=True):
        kinds = [_kinds(cell) for cell in (ran, kept)]
        assert kinds[0] == kinds[1], kept["source"]
        assert "error" not in kinds[1]


def _kinds(cell: Any) -> set[str]:
    """Of the outputs of a cell; remarks of libraries on stderr do not count.

    A set: whether two prints are one stream or two depends on the moment.
    """
    return {
        output["output_type"]
        for output in cell.get("outputs", [])
        if output.get("name") != "stderr"
    }


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_names_no_machine(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 200_000
    outputs = [
        json.dumps(output)
        for cell in json.loads(text)["cells"]
        for output in cell.get("outputs", [])
    ]
    assert outputs
    assert not re.search(r"/(home|work|tmp|root)/", " ".join(outputs))
