"""Train, validation and test: no patient on two sides, and no split by chance of order.

A patient's side is a seeded hash of the patient's id alone. Rows may be added, removed
or reordered, on any machine and in any process, and no patient changes sides.
"""

import hashlib
from typing import Final

import numpy as np

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

__all__ = ["SPLITS", "assign_splits", "hash_fraction", "resplit"]

SPLITS: Final = ("train", "validation", "test")
_TRAIN, _VALIDATION, _TEST = range(3)
_NONE = -1


def hash_fraction(patient_id: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the patient and the seed.

    The first 53 bits of BLAKE2b over ``SEED NUL PATIENT``.

    >>> hash_fraction("patient00001", seed=0) == hash_fraction("patient00001", seed=0)
    True
    >>> 0 <= hash_fraction("patient00001", seed=1) < 1
    True
    """
    digest = hashlib.blake2b(f"{seed}\0{patient_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def resplit(
    patient_ids: np.ndarray,
    *,
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
) -> np.ndarray:
    """Split by the hash alone, whatever the data set says.

    Args:
        patient_ids: (N,) array of str, one per image.
        seed: Another seed is another split.
        validation: Share of patients in validation.
        test: Share of patients in test.

    Returns:
        (N,) array of ``train``, ``validation`` and ``test``.

    Raises:
        ConfigurationError: The shares are negative or leave nothing to train on.

    >>> resplit(np.array(["a", "b", "a"]), seed=0).tolist()
    ['test', 'train', 'test']
    """
    _check_shares(validation, test)
    patients, rows = np.unique(patient_ids, return_inverse=True)
    return _names(_hashed(patients, seed, validation, test)[rows])


def assign_splits(
    patient_ids: np.ndarray,
    official: np.ndarray,
    *,
    seed: int,
    validation: float = 0.1,
    test: float = 0.2,
) -> np.ndarray:
    """Keep the official split as far as there is one, and fill in what it lacks.

    - All three sides: kept.
    - No validation (NIH's two lists): patients of train move to it, by hash.
    - Train and validation, no test (CheXpert v1.0): the official validation set, which
      experts labelled and papers report on, becomes test; then as above.
    - Train alone says nothing about sides, and is split by hash.
    - Validation alone is a set to evaluate on: it becomes test.
    - Patients without an official side go where their hash says.

    Args:
        patient_ids: (N,) array of str, one per image.
        official: (N,) array of ``train``, ``validation``, ``test`` or None.
        seed: Another seed is another split.
        validation: Share of patients that move to validation.
        test: Share of patients in test, where the hash decides.

    Returns:
        (N,) array of ``train``, ``validation`` and ``test``.

    Raises:
        ConfigurationError: The shares are negative or leave nothing to train on.
        DatasetError: The official split puts a patient on two sides.

    >>> patients = np.array(["a", "b", "c", "c"])
    >>> official = np.array(["train", "train", "validation", "validation"], object)
    >>> assign_splits(patients, official, seed=0).tolist()
    ['train', 'train', 'test', 'test']
    """
    _check_shares(validation, test)
    patients, rows = np.unique(patient_ids, return_inverse=True)
    side = _official_sides(patients, rows, official)
    present = set(side.tolist()) - {_NONE}
    hashed = _hashed(patients, seed, validation, test)
    if present == {_TRAIN}:
        side = hashed
    elif _TEST not in present:
        side[side == _VALIDATION] = _TEST
    if _VALIDATION not in present or _TEST not in present:
        side[(side == _TRAIN) & (hashed == _VALIDATION)] = _VALIDATION
    return _names(np.where(side == _NONE, hashed, side)[rows])


def _check_shares(validation: float, test: float) -> None:
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigurationError(
            f"validation={validation} and test={test} are no shares of the patients",
            "Choose two shares of at least 0 that together leave some to train on.",
        )


def _hashed(
    patients: np.ndarray, seed: int, validation: float, test: float
) -> np.ndarray:
    """Side (P,) of each patient by hash: test first, then validation, then train."""
    fraction = np.array([hash_fraction(patient, seed) for patient in patients])
    conditions = [fraction < test, fraction < test + validation]
    return np.select(conditions, [_TEST, _VALIDATION], _TRAIN)


def _official_sides(
    patients: np.ndarray, rows: np.ndarray, official: np.ndarray
) -> np.ndarray:
    """Official side (P,) of each patient, or `_NONE`."""
    is_on = np.zeros((len(patients), len(SPLITS)), dtype=bool)
    for side, name in enumerate(SPLITS):
        is_on[rows[official == name], side] = True
    torn = np.flatnonzero(is_on.sum(axis=1) > 1)
    if torn.size:
        shown = ", ".join(
            f"{patients[p]!s} ({' and '.join(np.array(SPLITS)[is_on[p]])})"
            for p in torn[:5]
        )
        raise DatasetError(
            f"the official split puts {counted(torn.size, 'patient')} on more than one "
            f"side: {shown}{', …' if torn.size > 5 else ''}",
            "Divide all patients by their hash (`ignore_official_splits`), or repair "
            "the table.",
        )
    return np.where(is_on.any(axis=1), is_on.argmax(axis=1), _NONE)


def _names(side: np.ndarray) -> np.ndarray:
    names: np.ndarray = np.array(SPLITS)[side]
    return names
