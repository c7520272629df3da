"""Incremental figures by hand."""

import numpy as np
import pytest
import reference_metrics
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.stats.incremental import FORMULAS, summarise

_R = np.array(
    [
        [0.50, 0.60, 0.40],
        [0.80, 0.65, 0.45],
        [0.70, 0.90, 0.35],
        [0.75, 0.85, 0.95],
    ]
)
_TAU = np.array([1, 2, 3])


def test_every_figure_by_hand() -> None:
    summary = summarise(_R, _TAU, np.full(3, 0.9), np.full(3, 0.88))
    expected = {
        "zero_shot_auroc": 0.5,
        "final_auroc": 0.85,
        "final_auroc_all": 0.85,
        "average_incremental_auroc": (0.80 + 0.80 + 0.85) / 3,
        "backward_transfer": ((0.75 - 0.80) + (0.85 - 0.90)) / 2,
        "forgetting": ((0.80 - 0.75) + (0.90 - 0.85)) / 2,
        "forward_transfer": ((0.65 - 0.60) + (0.35 - 0.40)) / 2,
        "joint_gap": 0.05,
        "sequence_gap": 0.03,
        "zero_shot_retention": ((0.05 + 0.05) / 2 + (-0.05)) / 2,
    }
    assert summary == pytest.approx(expected)
    # That of s+ alone does not follow from R; the run adds it.
    assert {*summary, "final_auroc_positive"} == set(FORMULAS)


def test_a_finding_without_figures_is_left_out_everywhere() -> None:
    with_gap = np.column_stack([_R, np.full(4, np.nan)])
    joint = np.array([0.9, 0.9, 0.9, np.nan])
    summary = summarise(with_gap, np.array([1, 2, 3, 3]), joint, joint)
    assert summary == pytest.approx(
        summarise(_R, _TAU, np.full(3, 0.9), np.full(3, 0.9))
    )


def test_zero_shot_has_no_tasks() -> None:
    summary = summarise(_R[:1], np.array([1, 1, 1]))
    assert summary["zero_shot_auroc"] == summary["final_auroc"] == pytest.approx(0.5)
    undefined = set(summary) - {"zero_shot_auroc", "final_auroc", "final_auroc_all"}
    assert all(np.isnan(summary[name]) for name in undefined)


def test_in_data_incremental_every_finding_is_there_from_the_first_task() -> None:
    summary = summarise(_R, np.array([1, 1, 1]))
    assert summary["forgetting"] == pytest.approx((0.05 + 0.05 - 0.50) / 3)
    assert summary["backward_transfer"] == pytest.approx((-0.05 + 0.20 + 0.50) / 3)
    assert np.isnan(summary["forward_transfer"])


def test_nothing_but_nan() -> None:
    summary = summarise(np.full((3, 2), np.nan), np.array([1, 2]))
    assert all(np.isnan(value) for value in summary.values())


@given(
    seed=st.integers(0, 2**31),
    n_tasks=st.integers(1, 6),
    n_findings=st.integers(1, 6),
    share_unknown=st.sampled_from([0.0, 0.2, 0.6]),
)
def test_figures_are_what_their_formulas_say(
    seed: int, n_tasks: int, n_findings: int, share_unknown: float
) -> None:
    random = np.random.default_rng(seed)
    auroc = random.random((n_tasks + 1, n_findings))
    auroc[random.random(auroc.shape) < share_unknown] = np.nan
    introduced = random.integers(1, n_tasks + 1, n_findings)
    bounds = random.random((2, n_findings))
    bounds[random.random(bounds.shape) < share_unknown] = np.nan
    expected = reference_metrics.incremental_figures(auroc, introduced, *bounds)
    summary = summarise(auroc, introduced, *bounds)
    assert summary == pytest.approx(expected, nan_ok=True)


def test_a_gap_compares_the_same_findings() -> None:
    joint = np.array([0.9, np.nan, 0.95])
    summary = summarise(_R, _TAU, joint)
    assert summary["joint_gap"] == pytest.approx(((0.9 - 0.75) + (0.95 - 0.95)) / 2)
