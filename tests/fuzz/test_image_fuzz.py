"""A small run of `make fuzz`; the hostile kinds stand in test_isolation.py."""

import numpy as np
import pytest
from image_fuzz import fuzz_images, mutated, whole_files

pytestmark = pytest.mark.e2e


def test_mutated_images_are_pictures_or_failure_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("image_fuzz.HOSTILE", {})
    report = fuzz_images(250, seed=1)
    assert report.fine, report
    outcomes = {outcome for _, outcome in report.outcomes}
    assert {"picture", "failure row"} <= outcomes
    assert sum(report.outcomes.values()) == 254


def test_a_seed_gives_the_same_files() -> None:
    one, other = (whole_files(np.random.default_rng(5)) for _ in range(2))
    assert one.keys() == other.keys()
    assert one["PNG"] == other["PNG"]
    damaged = [mutated(one["PNG"], np.random.default_rng(2)) for _ in range(2)]
    assert damaged[0] == damaged[1]
