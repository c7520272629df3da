"""A run as text: what a person reads, to the character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.stats.incremental import summarise
from retune.pipeline.report.matrix import format_matrix, markdown_table, wrapped_name
from retune.pipeline.report.text_table import escaped

_R = np.array([[0.5, 0.6, np.nan], [0.8, 0.65, np.nan], [0.7, 0.9, np.nan]])
_TAU = np.array([1, 2, 2])
_GOLDEN = """\
Each of 2 tasks saw 20 images.

test AUROC of s+ - s-, zero-shot and after task 2

finding  task  positive  zero-shot  final   95 % interval  joint  course
Edema       1        31      0.500  0.700  0.600 to 0.780  0.850     ▁▅▄
Mass        2        12      0.600  0.900  0.850 to 0.940  0.910     ▂▃▇
Hernia      2         0          -      -               -      -     ···
mean                         0.550  0.800                  0.880     ▁▄▅

test AUROC after each task; * learned by then, 0 is zero-shot

finding      0       1       2
Edema    0.500   0.800*  0.700*
Mass     0.600   0.650   0.900*
Hernia       -       -       -*
mean     0.550   0.725   0.800

final AUROC (mean over findings)                        0.800
average over tasks (findings seen so far)               0.800
zero-shot AUROC                                         0.550
forgetting (0 is best)                                 +0.100
backward transfer                                      -0.100
forward transfer                                       +0.050
unseen findings against zero-shot                      +0.050
gap to joint (all labels at once)                      +0.080
no figure for Hernia: one class only in the test split

"""
_GOLDEN += (
    "s+, s-: similarity to sentences that affirm or deny a finding; s+ alone is the "
    "reference's score"
)


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
        tasks_saw="Each of 2 tasks saw 20 images.",
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
    assert "finding  positive  zero-shot   95 % interval" in text
    assert "Edema           9      0.500  0.400 to 0.600" in text
    assert text.count("0.500") == 2  # the finding and the mean
    assert "0.500*" not in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_what_does_not_fit_goes_to_further_blocks(width: int) -> None:
    names = ["Enlarged Cardiomediastinum", "Pleural Effusion", "Edema"]
    n_tasks = 14
    row = np.array([0.6, 0.7, 0.8])
    text = format_matrix(
        names,
        np.tile(row, (n_tasks + 1, 1)),
        np.array([1, 2, 3]),
        summary={},
        final_low=row - 0.1,
        final_high=row + 0.1,
        n_positive=np.array([3, 4, 5]),
        excluded={},
        bounds={"joint": row, "joint-observed": row, "logistic regression": row},
        task_names=[f"part {t}" for t in range(1, n_tasks + 1)],
        width=width,
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.startswith("finding  ")]
    assert len(heads) > 2
    means = [line for line in lines if line.startswith("mean")]
    assert len(means) == len(heads)
    for name in names:  # in full, in each block
        assert sum(line.startswith(name) for line in lines) == len(heads)
    assert "joint-observed: at once on just those that" in " ".join(text.split())


@given(st.text(min_size=1, max_size=90), st.integers(8, 26))
def test_no_part_of_a_name_is_lost(name: str, width: int) -> None:
    lines = wrapped_name(name, width)
    assert "".join("".join(lines).split()) == "".join(escaped(name).split())
    assert all(len(line) <= width for line in lines)


def test_names_cannot_command_the_terminal_nor_break_the_table() -> None:
    hostile = ["\x1b[31mred", "two\nlines", "\u202eturned", "肺炎", "x" * 70]
    row = np.full(5, 0.7)
    text = format_matrix(
        hostile,
        np.stack([row, row, row]),
        np.array([1, 1, 1, 2, 2]),
        summary={},
        final_low=row,
        final_high=row,
        n_positive=np.ones(5, dtype=np.int64),
        excluded={"\x1b[2J": "one class only"},
        bounds={},
        task_names=["a", "b"],
    )
    assert text.replace("\n", "").isprintable()
    assert r"\x1b[31mred" in text
    assert r"two\nlines" in text


def test_a_terminal_without_block_letters_has_no_sparks() -> None:
    text = format_matrix(
        ["Edema"],
        np.array([[0.5], [0.6], [0.7]]),
        np.array([1]),
        summary={},
        final_low=np.array([0.4]),
        final_high=np.array([0.6]),
        n_positive=np.array([9]),
        excluded={},
        bounds={},
        task_names=["part 1", "part 2"],
        sparks=False,
    )
    assert text.isascii()
    assert "course" not in text


def test_a_markdown_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"], ["3", "4"]]) == (
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    )


def test_an_encoder_without_texts_has_no_zero_shot() -> None:
    nan = np.full(2, np.nan)
    text = format_matrix(
        ["Edema", "Mass"],
        np.stack([nan, np.array([0.6, 0.7]), np.array([0.65, 0.75])]),
        np.array([1, 2]),
        summary={},
        final_low=nan,
        final_high=nan,
        n_positive=np.array([9, 8]),
        excluded={},
        bounds={},
        task_names=["Edema", "Mass"],
    )
    assert "finding  task  positive  final" in text
    assert "finding      1       2" in text
    assert "zero-shot" not in text
