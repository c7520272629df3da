"""200 hospital tables in a mixture of ways of writing, against what was meant."""

from pathlib import Path

from fuzz.mangled import mangled_tables


def test_no_cell_is_silently_wrong(tmp_path: Path) -> None:
    found = mangled_tables(200, 0, tmp_path)
    assert found.wrong == []
    assert found.refused == []
    assert found.cells["right"] > 0.98 * found.cells.total()
