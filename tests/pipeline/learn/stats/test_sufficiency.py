"""What enters a mean, and that what is left out is said."""

import numpy as np
import pytest

from retune.pipeline.learn.stats.sufficiency import (
    left_out_note,
    sufficient_findings,
)


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (0, [False, True, True, True, False]),
        (1, [False, True, True, True, False]),
        (5, [False, False, True, True, False]),
        (8, [False, False, False, True, False]),
        (50, [False, True, True, True, False]),  # none has so many: all with both
    ],
)
def test_both_classes_must_be_frequent_enough(least: int, expected: list[bool]) -> None:
    positive, observed = np.array([0, 1, 5, 20, 30]), np.array([40, 40, 40, 28, 30])
    assert sufficient_findings(positive, observed, least).tolist() == expected


def test_the_note_says_how_many_are_left_out() -> None:
    positive, observed = np.array([0, 1, 5, 20]), np.full(4, 40)
    assert left_out_note(positive, observed, 1) == ""
    assert "over 2 of 3 findings; 1 has fewer than 5" in left_out_note(
        positive, observed, 5
    )
    assert left_out_note(positive, observed, 50).startswith("every finding has fewer")
    assert left_out_note(np.zeros(0), np.zeros(0), 5) == ""
