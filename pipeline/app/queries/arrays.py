"""Vectors and labels as arrays, for scikit-learn and for PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, choose_encoder, read_labelled_images
from retune.store.queries.labelled import count_images

from ...datasets.leakage import check_leakage
from ...findings import canonical_name
from ...learn.problem.targets import BlankPolicy, UncertainPolicy, make_targets
from .images import check_split, to_pandas

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import TensorDataset

__all__ = ["ArrayQuery", "Arrays", "read_arrays", "torch_dataset"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ArrayQuery:
    """Which images as arrays, and what unclear labels count as.

    Attributes:
        split: ``train``, ``validation`` or ``test``; None for all.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        findings: The columns of Y, in this order; None for all.
        uncertain: As in training: ``zeros``, ``ones``, ``ignore``, ``soft`` or
            ``per-finding``.
        blank: How findings that are not mentioned count: ``negative`` or ``ignore``.
        backbone: Whose vectors; None if the store has those of one encoder.
        fingerprint: Fingerprint of the encoder, or its beginning.
        allow_leakage: Even if splits share patients or pictures.
    """

    split: str | None = None
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    findings: tuple[str, ...] | None = None
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    backbone: str | None = None
    fingerprint: str | None = None
    allow_leakage: bool = False

    def __post_init__(self) -> None:
        check_split(self.split)


class Arrays(tuple[Floats, Floats, "pd.DataFrame"]):
    """X, Y and the images, to be unpacked; the names of Y's columns beside them.

    Attributes:
        findings: K names.

    >>> x, y = np.zeros((2, 4), "f4"), np.zeros((2, 1), "f4")
    >>> arrays = Arrays(x, y, None, ["Edema"])
    >>> X, Y, images = arrays
    >>> arrays
    X (2, 4) float32, Y (2, 1) float32 of Edema
    """

    findings: tuple[str, ...]

    def __new__(
        cls, x: Floats, y: Floats, images: "pd.DataFrame", findings: Sequence[str]
    ) -> Self:
        """Three that can be unpacked, with the findings beside them."""
        made = super().__new__(cls, (x, y, images))
        made.findings = tuple(findings)
        return made

    def __repr__(self) -> str:
        x, y, _ = self
        listed = ", ".join(self.findings)
        return f"X {x.shape} {x.dtype}, Y {y.shape} {y.dtype} of {listed}"


def read_arrays(store: FeatureStore, query: ArrayQuery) -> Arrays:
    """Read vectors and labels, ordered by image_id.

    Returns:
        X, shape (N, D), float32; Y, shape (N, K), float32: 1, 0, 0.5 (``soft``, in
        training images), NaN where a label is unknown; the N images as a DataFrame.

    Raises:
        ConfigurationError: A dataset, finding, encoder or policy is unknown, or no
            image fits.
        LeakageError: Splits share patients or pictures.
        QueryError: `where` is no condition over `images`.
    """
    encoder = choose_encoder(
        store, backbone=query.backbone, fingerprint=query.fingerprint
    )
    count_images(store, datasets=query.datasets, where=query.where)  # checks both
    if not query.allow_leakage:
        check_leakage(store, datasets=query.datasets, where=query.where)
    read = read_labelled_images(
        store,
        encoder.fingerprint,
        datasets=query.datasets,
        where=_within(query.where, query.split),
    )
    splits = np.asarray(read.images["split"].to_pylist(), dtype=object)
    targets = make_targets(
        read.states,
        query.uncertain,
        query.blank,
        findings=read.findings,
        training=splits == "train",
    )
    wanted = read.findings if query.findings is None else query.findings
    chosen = [canonical_name(name, read.findings) for name in wanted]
    columns = [read.findings.index(name) for name in chosen]
    values = np.where(targets.observed, targets.value, np.float32("nan"))[:, columns]
    vectors = read.embedding.astype(np.float32)
    return Arrays(vectors, values, to_pandas(read.images), chosen)


def _within(where: str | None, split: str | None) -> str | None:
    """Both conditions; the line break ends a comment of the first.

    >>> _within(None, "test")
    "split = 'test'"
    """
    if split is None:
        return where
    of_split = f"split = '{split}'"
    return of_split if where is None else f"({where}\n) AND {of_split}"


def torch_dataset(arrays: Arrays) -> "TensorDataset":
    """Arrays as a dataset of pairs (x, y) for a `DataLoader`.

    x has shape (D,), y shape (K,), both float32; y is NaN where a label is unknown.
    """
    import torch
    from torch.utils.data import TensorDataset

    x, y, _ = arrays
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
