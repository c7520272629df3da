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


@pytest.fixture(scope="module")
def kernels(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that describes a kernel which starts at once."""
    folder = tmp_path_factory.mktemp("jupyter")
    described = folder / "kernels" / "warm" / "kernel.json"
    described.parent.mkdir(parents=True)
    command = [str(programs / "kernel"), "-f", "{connection_file}"]
    described.write_text(
        json.dumps({"argv": command, "display_name": "warm", "language": "python"})
    )
    return folder


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(
    notebook: Path,
    programs: Path,
    kernels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import nbformat
    from nbclient import NotebookClient

    places = (str(programs), str(Path(sys.executable).parent))
    monkeypatch.setenv("PATH", os.pathsep.join((*places, os.environ["PATH"])))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(kernels))
    book = nbformat.read(notebook, as_version=4)
    NotebookClient(
        book,
        timeout=600,
        kernel_name="warm",
        resources={"metadata": {"path": tmp_path}},
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
