"""Small label tables in each layout, written to disk as the data sets write them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

WriteTable = Callable[[str, str, Sequence[str]], Path]


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Write a header and rows to a file below a fresh root; returns the file."""

    def write(name: str, header: str, rows: Sequence[str]) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in (header, *rows)))
        return file

    return write
