"""A run as text: what a person reads, to the character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.stats.incremental import summarise
from retune.pipeline.report.matrix import format_matrix, markdown_table, short_names

_R = np.array([[0.5, 0.6, np.nan], [0.8, 0.65, np.nan], [0.7, 0.9, np.nan]])
_TAU = np.array([1, 2, 2])
_GOLDEN = """\
test AUROC of s+ - s-; * marks findings that were learned by then

                      Edema    Mass  Hernia    mean
zero-shot             0.500   0.600       -   0.550
1 Edema               0.800*  0.650       -   0.725
2 Mass                0.700*  0.900*      -*  0.800
  95 % from           0.600   0.850       -
  95 % to             0.780   0.940       -
joint                 0.850   0.910       -   0.880
positive test images     31      12       0

final AUROC (mean over findings)                        0.800
average over tasks (findings seen so far)               0.800
zero-shot AUROC                                         0.550
forgetting (0 is best)                                  0.100
backward transfer                                      -0.100
forward transfer                                       +0.050
unseen findings against zero-shot                       0.050
gap to joint (all labels at once)                      +0.080
no figure for Hernia: one class only in the test split"""


def _matrix(
    n_findings: int = 3,
    width: int = 100,
    intervals: dict[str, tuple[float, float]] | None = None,
) -> str:
    repeats = -(-n_findings // 3)
    findings = ["Edema", "Mass", "Hernia"] * repeats
    joint = np.array([0.85, 0.91, np.nan])
    return format_matrix(
        [f"{name}{k // 3 or ''}" for k, name in enumerate(findings)],
        np.tile(_R, repeats),
        np.tile(_TAU, repeats),
        summary=summarise(_R, _TAU, joint),
        final_low=np.tile([0.6, 0.85, np.nan], repeats),
        final_high=np.tile([0.78, 0.94, np.nan], repeats),
        n_positive=np.tile([31, 12, 0], repeats),
        excluded={"Hernia": "one class only in the test split"},
        bounds={"joint": np.tile(joint, repeats)},
        task_names=["Edema", "Mass"],
        intervals=intervals,
        width=width,
    )


def test_the_matrix_to_the_character() -> None:
    assert _matrix() == _GOLDEN


def test_intervals_stand_beside_the_figures_that_have_one() -> None:
    nan = float("nan")
    lines = _matrix(
        intervals={
            "final_auroc": (0.71, 0.88),
            "backward_transfer": (-0.2, 0.01),
            "joint_gap": (nan, nan),
        }
    ).splitlines()
    (head,) = [line for line in lines if "over test patients" in line]
    (final,) = [line for line in lines if line.startswith("final AUROC")]
    (transfer,) = [line for line in lines if line.startswith("backward")]
    (gap,) = [line for line in lines if line.startswith("gap to joint")]
    assert final.endswith("  0.800   0.710 to  0.880")
    assert transfer.endswith(" -0.100  -0.200 to +0.010")
    assert gap.endswith("+0.080")
    assert head.index("95") == final.index(" 0.710")


def test_zero_shot_has_one_row_with_its_intervals() -> None:
    text = format_matrix(
        ["Edema"],
        np.array([[0.5]]),
        np.array([1]),
        summary={},
        final_low=np.array([0.4]),
        final_high=np.array([0.6]),
        n_positive=np.array([9]),
        excluded={},
        bounds={},
        task_names=[],
    )
    assert "zero-shot             0.500" in text
    assert "  95 % from           0.400" in text
    assert "0.500*" not in text


@pytest.mark.parametrize("width", [80, 100])
def test_many_findings_go_to_further_blocks_within_the_width(width: int) -> None:
    lines = _matrix(n_findings=15, width=width).splitlines()
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if "Edema" in line and "0." not in line]
    assert len([line for line in lines if line.startswith("positive test")]) > 1
    assert sum("mean" in line.split() for line in heads) == 1


@given(
    st.lists(st.text("ab cXYZ", min_size=1, max_size=20), min_size=1, max_size=20),
    st.integers(4, 12),
)
def test_short_names_fit_their_width(names: list[str], width: int) -> None:
    short = short_names(names, width)
    assert len(short) == len(names)
    assert all(len(name) <= width for name in short)


def test_short_names_of_real_findings_are_told_apart() -> None:
    names = ["Pleural Effusion", "Pleural Other", "Pleural Thickening", "Pneumonia"]
    names += ["Pneumothorax", "Lung Lesion", "Lung Opacity", "Support Devices"]
    short = short_names(names, 7)
    assert len(set(short)) == len(names)


def test_a_markdown_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == (
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    )
