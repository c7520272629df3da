"""200 hospital tables in a mixture of ways of writing, against what was meant."""

from pathlib import Path

from fuzz.mangled import mangled_tables


def test_no_cell_is_silently_wrong(tmp_path: Path) -> None:
    report = mangled_tables(200, 0, tmp_path)
    assert report.wrong == []
    assert report.refused == []
    assert report.cells["right"] > 0.98 * report.cells.total()
