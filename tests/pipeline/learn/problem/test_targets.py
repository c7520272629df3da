"""Label policies, each against one `if` at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.problem.targets import PER_FINDING, make_targets
from retune.store.errors import ConfigurationError
from retune.store.label_states import (
    ABSENT,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    UNLABELLED,
)

FINDINGS = ("Edema", "Cardiomegaly", "Mass")
STATES = [POSITIVE, NEGATIVE, UNCERTAIN, ABSENT, UNLABELLED]


def slow_target(
    state: int, finding: str, uncertain: str, blank: str, *, trained: bool
) -> float | None:
    if state == POSITIVE:
        return 1.0
    if state == NEGATIVE:
        return 0.0
    if state == ABSENT:
        return 0.0 if blank == "negative" else None
    if state == UNLABELLED:
        return None
    if uncertain == "soft":
        return 0.5 if trained else None
    if uncertain == "per-finding":
        uncertain = PER_FINDING.get(finding, "ignore")
    return {"zeros": 0.0, "ones": 1.0, "ignore": None}[uncertain]


@given(
    st.lists(
        st.tuples(st.booleans(), *[st.sampled_from(STATES)] * 3), min_size=1, max_size=9
    ),
    st.sampled_from(["zeros", "ones", "ignore", "soft", "per-finding"]),
    st.sampled_from(["negative", "ignore"]),
)
def test_every_policy_does_what_it_says(rows, uncertain, blank) -> None:
    training = np.array([row[0] for row in rows])
    states = np.array([row[1:] for row in rows], dtype=np.int8)
    targets = make_targets(
        states, uncertain, blank, findings=FINDINGS, training=training
    )
    for i, row in enumerate(rows):
        for k, finding in enumerate(FINDINGS):
            expected = slow_target(
                row[k + 1], finding, uncertain, blank, trained=row[0]
            )
            assert targets.observed[i, k] == (expected is not None)
            assert targets.value[i, k] == (expected or 0.0)


def test_soft_cells_never_enter_a_figure() -> None:
    states = np.array([[UNCERTAIN], [POSITIVE]], dtype=np.int8)
    assert make_targets(states, "soft").observed.tolist() == [[False], [True]]


@pytest.mark.parametrize("given", ["zero", "", "chexpert"])
def test_an_unknown_policy_is_refused_with_those_that_exist(given) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_targets(np.zeros((1, 1), np.int8), given)
    assert "zeros, ones, ignore, soft, per-finding" in caught.value.hint
