"""Which images and descriptions a run is about, and which they turned out to be."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "Contribution",
    "Provenance",
    "Selection",
    "SplitImages",
    "contributions_of",
    "images_digest",
]

Names = npt.NDArray[np.object_]
#: Names that are made into objects together.
_PART_NAMES = 65_536


@dataclass(frozen=True)
class Selection:
    """What a user asks for.

    Attributes:
        datasets: Only these; None for all that the store has.
        where: A SQL condition over the columns of `images`; None for all.
        split_seed: Divide all patients anew by a seeded hash, instead of using the
            splits that ingest assigned.
        description_set: Name of the set of descriptions.
        allow_leakage: Also if splits share patients or pictures.
        allow_contaminated: Also count images of patients that the backbone was trained
            on in validation and test.
    """

    datasets: tuple[str, ...] | None = None
    where: str | None = None
    split_seed: int | None = None
    description_set: str = "default"
    allow_leakage: bool = False
    allow_contaminated: bool = False


@dataclass(frozen=True)
class SplitImages:
    """The images of one split: how many, and a digest of their ids."""

    n_images: int
    digest: str


@dataclass(frozen=True)
class Contribution:
    """Images of one dataset that a run learned from.

    Attributes:
        dataset: Its name in the store where the run was made.
        n_images: How many images.
        digest: Digest of the content of all of them, whatever split they are in; it
            stands for the set and says nothing of a single image.
    """

    dataset: str
    n_images: int
    digest: str


@dataclass(frozen=True)
class Provenance:
    """What a selection turned out to be; it belongs to the images and their run.

    Attributes:
        selection: With the names of the datasets, never None.
        label_versions: Dataset -> version of its labels.
        splits: Split -> its images.
        contributions: One per dataset.
        n_contaminated: Images of patients that the backbone was trained on which
            validation or test would have had; they are set aside, or count if the
            selection allows it.
        contamination_unknown: Why nobody can tell which images the backbone knows;
            empty if somebody can.
    """

    selection: Selection
    label_versions: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, SplitImages] = field(default_factory=dict)
    contributions: tuple[Contribution, ...] = ()
    n_contaminated: int = 0
    contamination_unknown: str = ""


def images_digest(names: Iterable[str]) -> str:
    """BLAKE2b of a set of ids or content digests, 16 bytes in hex.

    >>> images_digest(["b", "a"]) == images_digest(["a", "b"])
    True
    """
    text = "\n".join(sorted(names))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def contributions_of(
    dataset: Names | pa.ChunkedArray, content_digest: Names | pa.ChunkedArray
) -> tuple[Contribution, ...]:
    """One contribution per dataset.

    Args:
        dataset: Datasets of N images.
        content_digest: Digests of N images.

    >>> first, second = contributions_of(
    ...     pa.chunked_array([["a", "b", "a"]]), pa.chunked_array([["2", "3", "1"]])
    ... )
    >>> first.n_images, second.digest == images_digest(["3"])
    (2, True)
    """
    columns = [
        one if isinstance(one, pa.ChunkedArray) else pa.array(one, pa.string())
        for one in (dataset, content_digest)
    ]
    images = pa.table(columns, ["dataset", "digest"])
    contributions = []
    for name in sorted(images["dataset"].unique().to_pylist()):
        digests = images.filter(pc.equal(images["dataset"], name))["digest"]
        contributions.append(Contribution(name, len(digests), _digest_of(digests)))
    return tuple(contributions)


def _digest_of(names: pa.ChunkedArray) -> str:
    """What `images_digest` gives; few of the names are objects at a time."""
    digest = hashlib.blake2b(digest_size=16)
    # UTF-8 sorts as code points do.
    ordered = names.take(pc.sort_indices(names))
    for start in range(0, len(ordered), _PART_NAMES):
        part = ordered.slice(start, _PART_NAMES).to_pylist()
        digest.update((("\n" if start else "") + "\n".join(part)).encode())
    return digest.hexdigest()
