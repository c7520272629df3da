"""A few of the mutated tables that `python tests/fuzz/tables.py` reads."""

from pathlib import Path

import pytest
from fuzz.tables import fuzz_tables


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mutated_table_is_read_or_refused_by_name(tmp_path: Path, seed: int) -> None:
    tally = fuzz_tables(45, seed, tmp_path)
    assert tally.failures == []
    assert tally.outcomes.total() == 45
