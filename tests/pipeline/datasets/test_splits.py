"""Splits keep patients apart, depend on nothing but the patient, and respect papers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.datasets.splits import assign_splits, hash_fraction, resplit
from retune.store.errors import ConfigurationError, DatasetError

PATIENTS = st.lists(st.text(max_size=4), min_size=1, max_size=60).map(
    lambda ids: np.array(ids, object)
)
#: What a public data set may state, one side per patient and for each set of sides.
STATED = st.lists(
    st.sampled_from(["train", "validation", "test", None]), min_size=1, max_size=4
)


def sides(patients: np.ndarray, split: np.ndarray) -> dict[str, set[str]]:
    sides_of: dict[str, set[str]] = {}
    for patient, side in zip(patients, split, strict=True):
        sides_of.setdefault(patient, set()).add(str(side))
    return sides_of


def official(*values: str | None) -> np.ndarray:
    return np.array(values, object)


def state(patients: np.ndarray, stated: list[str | None]) -> np.ndarray:
    """An official split that gives each patient one side, in turn."""
    by_patient = {
        p: stated[i % len(stated)] for i, p in enumerate(sorted(set(patients)))
    }
    return np.array([by_patient[p] for p in patients], object)


def unstated(patients: np.ndarray) -> np.ndarray:
    return np.full(len(patients), None, object)


@given(PATIENTS, STATED, st.integers(0, 3))
def test_no_patient_is_on_two_sides(patients, stated, seed):
    split = assign_splits(patients, state(patients, stated), seed=seed)
    assert split.shape == patients.shape
    assert set(split.tolist()) <= {"train", "validation", "test"}
    assert all(
        len(patient_sides) == 1 for patient_sides in sides(patients, split).values()
    )


@given(PATIENTS, STATED, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(patients, stated, random):
    given_sides = state(patients, stated)
    order = list(range(len(patients)))
    random.shuffle(order)
    split = assign_splits(patients, given_sides, seed=0)
    shuffled = assign_splits(patients[order], given_sides[order], seed=0)
    assert (shuffled == split[order]).all()


@given(PATIENTS, st.data())
def test_other_patients_do_not_matter(patients, data):
    n_kept = data.draw(st.integers(1, len(patients)))
    whole = assign_splits(patients, unstated(patients), seed=0)
    part = assign_splits(patients[:n_kept], unstated(patients[:n_kept]), seed=0)
    assert (part == whole[:n_kept]).all()


@given(PATIENTS, STATED, st.integers(0, 3))
def test_official_test_patients_stay_test(patients, stated, seed):
    given_sides = state(patients, stated)
    split = assign_splits(patients, given_sides, seed=seed)
    assert set(split[given_sides == "test"].tolist()) <= {"test"}


@given(PATIENTS)
def test_strings_of_numpy_and_of_python_split_alike(patients):
    patients = np.array([patient.strip("\0") for patient in patients], object)
    assert (resplit(patients, seed=0) == resplit(patients.astype(str), seed=0)).all()


def test_shares_are_roughly_as_asked():
    patients = np.array([f"patient{i:05}" for i in range(20_000)])
    split = resplit(patients, seed=7, validation=0.15, test=0.25)
    shares = {side: (split == side).mean() for side in ("train", "validation", "test")}
    # Three standard deviations of a binomial share are below 0.01.
    assert shares["train"] == pytest.approx(0.60, abs=0.011)
    assert shares["validation"] == pytest.approx(0.15, abs=0.011)
    assert shares["test"] == pytest.approx(0.25, abs=0.011)


def test_seeds_give_independent_splits():
    patients = np.array([f"p{i}" for i in range(5_000)])
    one, two = (resplit(patients, seed=seed) == "test" for seed in (0, 1))
    assert (one & two).mean() == pytest.approx(0.2 * 0.2, abs=0.01)


def test_a_patients_fraction_never_changes():
    """These are promises: a changed hash would move patients between sides."""
    assert hash_fraction("patient00001", 0) == pytest.approx(0.1617816606, abs=1e-9)
    assert hash_fraction("1", 0) == pytest.approx(0.2324917712, abs=1e-9)


def test_the_seed_and_the_patient_cannot_be_confused():
    assert hash_fraction("1x", 1) != hash_fraction("x", 11)


def test_three_official_sides_are_kept():
    stated = official("train", "validation", "test", "train")
    patients = np.array(["a", "b", "c", "d"])
    assert assign_splits(patients, stated, seed=0).tolist() == stated.tolist()


def many(*counts: tuple[str | None, int]) -> tuple[np.ndarray, np.ndarray]:
    stated = [side for side, count in counts for _ in range(count)]
    return np.array([f"p{i}" for i in range(len(stated))]), official(*stated)


def test_an_official_validation_set_without_test_becomes_the_test_set():
    patients, stated = many(("train", 2_000), ("validation", 100))
    split = assign_splits(patients, stated, seed=0, validation=0.1)
    assert set(split[2_000:].tolist()) == {"test"}
    assert set(split[:2_000].tolist()) == {"train", "validation"}
    assert (split[:2_000] == "validation").mean() == pytest.approx(0.1, abs=0.03)


def test_validation_is_taken_from_train_where_the_official_split_has_none():
    patients, stated = many(("train", 2_000), ("test", 500))
    split = assign_splits(patients, stated, seed=0, validation=0.1)
    assert set(split[2_000:].tolist()) == {"test"}
    assert (split[:2_000] == "validation").mean() == pytest.approx(0.1, abs=0.03)


def test_validation_taken_from_train_is_the_validation_of_the_pure_hash():
    """So a patient's part does not depend on whether the official lists lay there."""
    patients, stated = many(("train", 500), ("test", 100))
    split = assign_splits(patients, stated, seed=3)[:500]
    assert (
        (split == "validation") == (resplit(patients, seed=3)[:500] == "validation")
    ).all()


def test_train_alone_and_nothing_at_all_are_split_by_hash():
    patients, stated = many(("train", 300))
    expected = resplit(patients, seed=5)
    assert (assign_splits(patients, stated, seed=5) == expected).all()
    assert (assign_splits(patients, unstated(patients), seed=5) == expected).all()


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_set_to_evaluate_on_is_all_test(side):
    patients, stated = many((side, 50))
    assert set(assign_splits(patients, stated, seed=0).tolist()) == {"test"}


def test_patients_without_an_official_side_go_by_hash():
    patients, stated = many(("train", 50), ("validation", 5), ("test", 50), (None, 400))
    split = assign_splits(patients, stated, seed=0)
    assert (split[105:] == resplit(patients[105:], seed=0)).all()
    assert split[:105].tolist() == stated[:105].tolist()


def test_one_official_row_speaks_for_all_rows_of_its_patient():
    stated = official("test", None, None, "train", "validation")
    patients = np.array(["a", "a", "a", "b", "c"])
    split = assign_splits(patients, stated, seed=0)
    assert split[:3].tolist() == ["test"] * 3


def test_a_patient_on_two_official_sides_is_an_error_that_names_five():
    patients = np.array([f"p{i}" for i in range(7)] * 2)
    stated = official(*["train"] * 7, *["test"] * 7)
    with pytest.raises(DatasetError) as caught:
        assign_splits(patients, stated, seed=0)
    message = caught.value.message
    assert "puts 7 patients on more than one side: p0 (train and test), p1" in message
    assert "p4 (train and test), …" in message
    assert "p5" not in message


@pytest.mark.parametrize(
    ("validation", "test"),
    [(-0.1, 0.2), (0.1, -0.2), (0.5, 0.5), (1.0, 0.0), (float("nan"), 0.2)],
)
def test_shares_that_leave_nothing_to_train_on_are_refused(validation, test):
    patients = np.array(["a"])
    with pytest.raises(ConfigurationError, match="shares"):
        resplit(patients, seed=0, validation=validation, test=test)
    with pytest.raises(ConfigurationError, match="shares"):
        assign_splits(
            patients, unstated(patients), seed=0, validation=validation, test=test
        )


def test_a_share_of_zero_gives_none():
    patients = np.array([f"p{i}" for i in range(500)])
    assert set(resplit(patients, seed=0, validation=0, test=0).tolist()) == {"train"}
