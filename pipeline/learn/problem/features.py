"""What learning starts from: cached vectors and label states, as arrays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import TrainingError
from retune.store.plural import counted
from retune.store.vectors.mapped_pages import release_pages

__all__ = [
    "EVERY_SPLIT",
    "SET_ASIDE",
    "SPLITS",
    "Features",
    "PatientIds",
    "Prompts",
    "number_patients",
]

#: Rows that are compared at a time.
_BLOCK = 16_384
SPLITS = ("train", "validation", "test")
#: The split of images that must not count: the backbone was trained on their patients.
SET_ASIDE = "set aside"
#: All values of the split column.
EVERY_SPLIT = (*SPLITS, SET_ASIDE)


PatientIds = npt.NDArray[np.object_] | npt.NDArray[np.integer]


def number_patients(patient_id: PatientIds) -> npt.NDArray[np.int64]:
    """Number of each image's patient, from 0 in the order of ids.

    Args:
        patient_id: Shape (N,); ids, or numbers that are in the order of ids already.

    >>> number_patients(np.array(["b", "a", "b"], dtype=object)).tolist()
    [1, 0, 1]
    """
    if patient_id.dtype != object:
        return np.unique(patient_id, return_inverse=True)[1]
    # By Arrow: NumPy would compare objects in Python, or text of four bytes a letter.
    encoded = _as_text(patient_id).dictionary_encode()
    rank = np.empty(len(encoded.dictionary), dtype=np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    numbers: npt.NDArray[np.int64] = rank[encoded.indices.to_numpy()]
    return numbers


def _as_text(patient_id: PatientIds) -> pa.StringArray:
    try:
        return pa.array(patient_id, pa.string())
    except pa.ArrowTypeError:  # ids that are numbers
        return pa.array(patient_id.astype(str), pa.string())


@dataclass(frozen=True)
class Features:
    """N images with frozen embeddings of size D and the states of K findings.

    Attributes:
        image_id: Shape (N,), str.
        patient_id: Shape (N,), str; unique across datasets.
        split: Shape (N,), one of `SPLITS`, or `SET_ASIDE` for images that no figure and
            no weight may come from.
        embedding: Shape (N, D), float16 or float32, as the backbone returned it; a
            `numpy.memmap` stays in its file, and batches are read from there.
        findings: K names.
        states: Shape (N, K), int8 codes of `retune.store.label_states`.

    Raises:
        TrainingError: Shapes disagree, an embedding is not finite, or a patient stands
            in two splits.
    """

    image_id: npt.NDArray[np.object_]
    patient_id: npt.NDArray[np.object_]
    split: npt.NDArray[np.object_]
    embedding: npt.NDArray[np.floating]
    findings: tuple[str, ...]
    states: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        n_images = len(self.image_id)
        shapes = {
            "patient_id": (self.patient_id.shape, (n_images,)),
            "split": (self.split.shape, (n_images,)),
            "embedding": (self.embedding.shape[:1], (n_images,)),
            "states": (self.states.shape, (n_images, len(self.findings))),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise TrainingError(f"{name} has shape {shape}, not {expected}")
        if not _all_finite(self.embedding):
            raise TrainingError(
                "some embeddings are not finite", "Run `retune-cli verify`."
            )
        unknown = sorted(set(self.split.tolist()) - set(EVERY_SPLIT))
        if unknown:
            raise TrainingError(f"unknown splits: {', '.join(map(str, unknown))}")
        self._check_patients()

    def _check_patients(self) -> None:
        """A patient on both sides would make every figure too good."""
        seen = np.zeros(
            (int(self.patient.max(initial=-1)) + 1, len(SPLITS)), dtype=bool
        )
        for code, split in enumerate(SPLITS):
            seen[self.patient[self.rows(split)], code] = True
        both = np.flatnonzero(seen.sum(axis=1) > 1)
        if len(both):
            name = self.patient_id[self.patient == both[0]][0]
            raise TrainingError(
                f"{counted(len(both), 'patient', 'stand')} in more than one split, "
                f"such as {name}",
                "Correct the split column, or split anew with `split_seed`.",
            )

    @cached_property
    def patient(self) -> npt.NDArray[np.int64]:
        """Number of each image's patient, shape (N,), from 0 in the order of ids."""
        return number_patients(self.patient_id)

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Indices of the images of one split."""
        return np.flatnonzero(self.split == split)


def _all_finite(vectors: npt.NDArray[np.floating]) -> bool:
    """In blocks: a whole table of answers would be half as large as the vectors.

    >>> _all_finite(np.ones((2, 2), "f2")), _all_finite(np.array([[1, -np.inf]], "f4"))
    (True, False)
    """
    for at in range(0, len(vectors), _BLOCK):
        if not _block_finite(vectors[at : at + _BLOCK]):
            return False
        release_pages(vectors)
    return True


def _block_finite(vectors: npt.NDArray[np.floating]) -> bool:
    """By bit patterns where they are float16, for which NumPy's test is slow."""
    if vectors.dtype != np.float16 or not vectors.flags.c_contiguous:
        return bool(np.isfinite(vectors).all())
    without_sign = vectors.view(np.uint16) & np.uint16(0x7FFF)
    return bool(without_sign.max(initial=0) < 0x7C00)  # infinity; NaN lies above


@dataclass(frozen=True)
class Prompts:
    """P encoded descriptions of K findings.

    Attributes:
        embedding: Shape (P, D), float32.
        finding: Index of the finding that each describes, shape (P,), int64.
        positive: Whether it asserts the finding, shape (P,), bool.
    """

    embedding: npt.NDArray[np.float32]
    finding: npt.NDArray[np.int64]
    positive: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, dim: int) -> "Prompts":
        """No descriptions: the encoder knows images only.

        >>> bool(Prompts.none(4))
        False
        """
        return cls(
            np.empty((0, dim), np.float32), np.empty(0, np.int64), np.empty(0, bool)
        )

    def __bool__(self) -> bool:
        return len(self.finding) > 0

    def check(self, findings: tuple[str, ...]) -> None:
        """Each finding needs a description of each polarity.

        Raises:
            TrainingError: One is lacking; the message names the finding.
        """
        for index, name in enumerate(findings):
            for polarity, wanted in (("positive", True), ("negative", False)):
                if not ((self.finding == index) & (self.positive == wanted)).any():
                    raise TrainingError(
                        f"'{name}' has no {polarity} description",
                        "Embed a set that has both (`descriptions`).",
                    )
