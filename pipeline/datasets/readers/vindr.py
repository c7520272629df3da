"""VinDr-CXR: what each of several radiologists saw, from Kaggle or PhysioNet.

Kaggle's `train.csv` has a row per box, or one row "No finding", for each image and
reader; PhysioNet's `image_labels_train.csv` has a row per image and reader with a
column per finding, and `image_labels_test.csv` a row per image, agreed on by five
radiologists.

Votes become states by one of these rules (`--votes`): ``any`` reader saw it; a
``majority`` did (more than half); ``all`` did; ``soft``: positive if all did, negative
if none did, and uncertain where they disagree, for `--uncertain` to decide at training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.label_states import NEGATIVE, POSITIVE, UNCERTAIN
from retune.store.plural import counted

from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import count_values, label_states
from ..tables.delimited import TextTable, read_csv, read_header
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.packed import find_tables

__all__ = ["VINDR_TOKENS", "find_vindr_tables", "read_vindr", "vote_states"]

_IMAGE, _READER, _CLASS, _NONE = "image_id", "rad_id", "class_name", "No finding"
_KAGGLE: Final = "train.csv"
_PHYSIONET: Final = {"train": "image_labels_train.csv", "test": "image_labels_test.csv"}
_FOLDERS: Final = ("", "annotations")
_SUFFIXES: Final = (".dicom", ".dcm", ".png", ".jpg")
_VOTES: Final = ("any", "majority", "all", "soft")

#: VinDr's name -> canonical name. The two releases and their two parts differ.
VINDR_TOKENS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Aortic enlargement": "Aortic Enlargement",
        "Atelectasis": "Atelectasis",
        "Calcification": "Calcification",
        "Cardiomegaly": "Cardiomegaly",
        "Clavicle fracture": "Clavicle Fracture",
        "Consolidation": "Consolidation",
        "Edema": "Edema",
        "Emphysema": "Emphysema",
        "Enlarged PA": "Pulmonary Artery Enlargement",
        "ILD": "Interstitial Lung Disease",
        "Infiltration": "Infiltration",
        "Lung Opacity": "Lung Opacity",
        "Lung cavity": "Lung Cavity",
        "Lung cyst": "Lung Cyst",
        "Mediastinal shift": "Mediastinal Shift",
        "Nodule/Mass": "Nodule or Mass",
        "Pleural effusion": "Pleural Effusion",
        "Pleural thickening": "Pleural Thickening",
        "Pneumothorax": "Pneumothorax",
        "Pulmonary fibrosis": "Fibrosis",
        "Rib fracture": "Rib Fracture",
        "Other lesion": "Other Lesion",
        "COPD": "Chronic Obstructive Pulmonary Disease",
        "Lung tumor": "Lung Tumor",
        "Pneumonia": "Pneumonia",
        "Tuberculosis": "Tuberculosis",
        "Other diseases": "Other Disease",  # of the training part
        "Other disease": "Other Disease",  # of the test part
    }
)
#: The 14 classes of Kaggle's challenge.
_KAGGLE_TOKENS: Final = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly",
    "Consolidation", "ILD", "Infiltration", "Lung Opacity", "Nodule/Mass",
    "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis",
)  # fmt: skip


@dataclass(frozen=True)
class _Votes:
    """What the readers of N images said of K findings.

    Attributes:
        images: N image ids.
        positive: (N, K) numbers of readers who saw the finding.
        readers: (N,) numbers of readers.
        findings: K canonical names.
        warnings: What was odd.
    """

    images: pa.StringArray
    positive: np.ndarray
    readers: np.ndarray
    findings: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def find_vindr_tables(root: Path) -> dict[str, Path]:
    """Official split -> table of PhysioNet, or ``kaggle`` -> Kaggle's table."""
    for folder in _FOLDERS:
        there = {
            split: find_tables(root / folder, name)
            for split, name in _PHYSIONET.items()
        }
        if any(there.values()):
            return {split: files[0] for split, files in there.items() if files}
    for kaggle in find_tables(root, _KAGGLE)[:1]:
        if {_IMAGE, _READER, _CLASS} <= set(read_header(kaggle)):
            return {"kaggle": kaggle}
    return {}


def vote_states(positive: np.ndarray, readers: np.ndarray, rule: str) -> np.ndarray:
    """Label states of votes.

    Args:
        positive: (N, K) numbers of readers who saw the finding.
        readers: (N,) numbers of readers, at least 1.
        rule: ``any``, ``majority``, ``all`` or ``soft``.

    Returns:
        (N, K) int8 codes of `retune.store.label_states`.

    Raises:
        ConfigurationError: There is no such rule.

    >>> votes = np.array([[0, 1, 2, 3]])
    >>> vote_states(votes, np.array([3]), "majority").tolist()
    [[0, 0, 1, 1]]
    >>> vote_states(votes, np.array([3]), "soft").tolist()
    [[0, -1, -1, 1]]
    """
    if rule not in _VOTES:
        raise ConfigurationError(
            f"unknown rule {rule} for `votes`", f"Use one of {', '.join(_VOTES)}."
        )
    n = readers[:, np.newaxis]
    if rule == "soft":
        states = np.where(positive == n, POSITIVE, UNCERTAIN)
        return np.where(positive == 0, NEGATIVE, states).astype(np.int8)
    least = {"any": np.ones_like(n), "majority": n // 2 + 1, "all": n}[rule]
    return np.where(positive >= least, POSITIVE, NEGATIVE).astype(np.int8)


def read_vindr(root: Path, options: TableOptions) -> LabelTable:
    """Read VinDr-CXR; each image counts as a patient, because no patient is published.

    Raises:
        ConfigurationError: There is no such rule for votes.
        DatasetError: No table is there, or one of them cannot be read.
    """
    vindr_tables = find_vindr_tables(root)
    if options.file:
        vindr_tables = {_part(options.file): root / options.file}
    if not vindr_tables:
        raise DatasetError(
            f"{root} holds neither Kaggle's train.csv nor PhysioNet's"
            " image_labels_train.csv or image_labels_test.csv",
            "Give the folder that holds VinDr-CXR's label tables.",
        )
    tables = {part: read_csv(file) for part, file in vindr_tables.items()}
    votes = {
        part: _kaggle_votes(table) if part == "kaggle" else _physionet_votes(table)
        for part, table in tables.items()
    }
    findings = tuple(
        dict.fromkeys(name for one in votes.values() for name in one.findings)
    )
    for part, one in votes.items():
        if set(one.findings) != set(findings):
            lacking = ", ".join(sorted(set(findings) - set(one.findings)))
            raise DatasetError(
                f"{tables[part].file} has no column for {lacking}",
                "Use the tables of one release.",
            )
    rule = options.votes or "majority"
    parts = []
    for one in votes.values():
        order = [one.findings.index(name) for name in findings]
        parts.append(vote_states(one.positive[:, order], one.readers, rule))
    images = _images(root, votes)
    warnings = tuple(text for one in votes.values() for text in one.warnings)
    return LabelTable("vindr", images, findings, np.concatenate(parts), warnings)


def _part(name: str) -> str:
    by_name = {file: split for split, file in _PHYSIONET.items()}
    return by_name.get(Path(name).name.removesuffix(".gz"), "kaggle")


def _keys(table: TextTable) -> tuple[pa.StringArray, np.ndarray]:
    """The distinct images, in order, and the number of each row's image."""
    written = pc.utf8_trim_whitespace(table.column(_IMAGE))
    encoded = pc.dictionary_encode(written)
    images = encoded.dictionary
    rows = encoded.indices.to_numpy()
    _, first = np.unique(rows, return_index=True)

    def places(numbers: Sequence[int]) -> list[str]:
        return table.places([int(first[number]) for number in numbers])

    check_paths(images, places)
    return images, rows


def _kaggle_votes(table: TextTable) -> _Votes:
    """Boxes become votes: several boxes of one reader are one vote."""
    table.require([_IMAGE, _READER, _CLASS])
    images, image = _keys(table)
    reader_text = pc.utf8_trim_whitespace(table.column(_READER))
    readers = pc.dictionary_encode(reader_text)
    reader = readers.indices.to_numpy()
    words = pc.utf8_trim_whitespace(table.column(_CLASS))
    where = pc.index_in(words, value_set=pa.array(_KAGGLE_TOKENS))
    seen = pc.fill_null(where, -1).to_numpy()
    n_readers = len(readers.dictionary)
    pairs = image.astype(np.int64) * n_readers + reader
    of_image = np.unique(pairs) // n_readers
    n_findings = len(_KAGGLE_TOKENS)
    votes = np.unique(pairs[seen >= 0] * n_findings + seen[seen >= 0])
    positive = np.zeros((len(images), n_findings), dtype=np.int64)
    np.add.at(positive, (votes // n_findings // n_readers, votes % n_findings), 1)
    warnings = []
    odd = words.filter(
        pc.and_(pc.is_null(where), pc.invert(pc.is_in(words, pa.array([_NONE]))))
    )
    if len(odd):
        warnings.append(
            f"column {_CLASS!r}: unknown labels ignored: {count_values(odd)}"
        )
    both = np.intersect1d(
        pairs[pc.equal(words, _NONE).to_numpy(zero_copy_only=False)], pairs[seen >= 0]
    )
    if both.size:
        warnings.append(f"{_NONE} beside a finding of one reader: {both.size:,} times")
    return _Votes(
        images,
        positive,
        np.bincount(of_image, minlength=len(images)),
        tuple(VINDR_TOKENS[token] for token in _KAGGLE_TOKENS),
        tuple(f"{table.file.name}: {text}" for text in warnings),
    )


def _physionet_votes(table: TextTable) -> _Votes:
    """One row per image and reader; without a column of readers, one per image."""
    table.require([_IMAGE])
    names = table.cells.column_names
    columns = [name for name in names if name in VINDR_TOKENS]
    other = sorted(set(names) - {_IMAGE, _READER, *VINDR_TOKENS})
    other = [name for name in other if name.casefold() != _NONE.casefold()]
    if not columns:
        table.require(["Atelectasis"])  # says which columns there are
    images, image = _keys(table)
    _check_rows(table, image)
    states = label_states(table, columns)
    if (states < NEGATIVE).any():
        row = int(np.flatnonzero((states < NEGATIVE).any(axis=1))[0])
        raise DatasetError(
            f"{table.places([row])[0]}: a vote must be 0 or 1",
            "Download the table again.",
        )
    positive = np.zeros((len(images), len(columns)), dtype=np.int64)
    np.add.at(positive, image, states)
    return _Votes(
        images,
        positive,
        np.bincount(image, minlength=len(images)),
        tuple(VINDR_TOKENS[name] for name in columns),
        (
            f"{table.file.name}: {counted(len(other), 'column')} not read: "
            f"{', '.join(other)}",
        )
        if other
        else (),
    )


def _check_rows(table: TextTable, image: np.ndarray) -> None:
    """Each reader saw an image once."""
    reader = np.zeros_like(image)
    if _READER in table.cells.column_names:
        words = pc.utf8_trim_whitespace(table.column(_READER))
        reader = pc.dictionary_encode(words).indices.to_numpy()
    pairs = image.astype(np.int64) * (int(reader.max()) + 1) + reader
    _, first, which = np.unique(pairs, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(pairs)))
    if again.size:
        row = int(again[0])
        before, location = table.places([int(first[which[row]]), row])
        raise DatasetError(
            f"an image has two rows of one reader: {before} and {location}"
            f" ({counted(again.size, 'such row')})",
            "Keep one row per image and reader.",
        )


def _images(root: Path, votes: Mapping[str, _Votes]) -> pa.Table:
    parts = []
    for part, one in votes.items():
        folder = "train" if part == "kaggle" else part
        ways = [
            pc.binary_join_element_wise(prefix, one.images, suffix, "")
            for prefix in (f"{folder}/", "")
            for suffix in _SUFFIXES
        ]
        split = None if part == "kaggle" else part
        parts.append(
            image_columns(
                path=tidy_paths(choose_arrangement(root, ways)),
                patient_id=one.images,
                study_id=one.images,
                official_split=pa.repeat(
                    pa.scalar(split, pa.string()), len(one.images)
                ),
            )
        )
    return pa.concat_tables(parts).combine_chunks()
