"""Which images of a store may be the same picture."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, TrainingError
from retune.store.plural import counted
from retune.store.results import add_result, new_result_id

from ...learn.audit.pairs import near_pairs, whitened
from ...learn.runs.learning_set import load_images
from ...learn.runs.selection import Selection
from ..queries.listing import Listing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DuplicateAudit", "DuplicateAuditRequest", "ImagePair", "audit_duplicates"]

#: Rows that are entered into the store, at most.
_MOST = 10_000


@dataclass(frozen=True)
class DuplicateAuditRequest:
    """Which images to look at.

    Attributes:
        selection: Which images; leaking splits are what an audit is for, so that they
            are allowed.
        threshold: Least cosine of whitened vectors; None: what about one in a million
            pairs of different patients exceeds.
        k: Pairs to show.
        backbone: Use the vectors of this backbone.
        fingerprint: Use the vectors of this encoder.
    """

    selection: Selection = field(default_factory=Selection)
    threshold: float | None = None
    k: int = 20
    backbone: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class ImagePair:
    """Two images.

    Attributes:
        rank: From 1, the closest first.
        first_image_id: One of them.
        second_image_id: The other.
        cosine: Cosine of their whitened vectors.
        same_patient: Whether they are of one patient.
        across_splits: Whether one is in another split than the other.
    """

    rank: int
    first_image_id: str
    second_image_id: str
    cosine: float
    same_patient: bool
    across_splits: bool


@dataclass(frozen=True)
class DuplicateAudit:
    """An audit as it was entered into the store.

    Attributes:
        audit_id: Under which its rows stand in the table `duplicate_audits`.
        pairs: The closest pairs, `k` of them.
        n_pairs: Pairs that reach the limit.
        n_apart: Those of different patients.
        n_across_splits: Those in different splits.
        n_images: Images that were compared.
        limit: The least cosine.
    """

    audit_id: str
    pairs: Listing[ImagePair]
    n_pairs: int
    n_apart: int
    n_across_splits: int
    n_images: int
    limit: float

    def frame(self) -> "pd.DataFrame":
        """The pairs as a pandas DataFrame."""
        return self.pairs.frame()

    def __repr__(self) -> str:
        return (
            f"DuplicateAudit({self.audit_id}: {counted(self.n_pairs, 'pair')} of "
            f"{counted(self.n_images, 'image')}, {self.n_apart:,} of different "
            "patients)"
        )


def audit_duplicates(
    store: FeatureStore, request: DuplicateAuditRequest
) -> DuplicateAudit:
    """Find pairs of images that are nearly the same by their vectors, and enter them.

    Args:
        store: With vectors.
        request: Which images.

    Raises:
        ConfigurationError: The threshold is not between −1 and 1, or `k` below 1.
        TrainingError: There are fewer than two images.
        StoreWriteError: The disk refused.
    """
    if request.k < 1:
        raise ConfigurationError(f"`k` {request.k} is below 1", "Use `k` 20.")
    limit = request.threshold
    if limit is not None and not -1 <= limit <= 1:
        raise ConfigurationError(
            f"`threshold` {limit:g} is not between -1 and 1", "Use `threshold` 0.6."
        )
    images = load_images(
        store,
        request.selection,
        backbone=request.backbone,
        fingerprint=request.fingerprint,
    )
    features = images.features
    if len(features.image_id) < 2:
        raise TrainingError("there are fewer than two images to compare")
    white = whitened(features.embedding)
    pairs = near_pairs(white, features.patient, limit)
    # Images that no figure counts are in a split of their own: ask for the store's.
    split = np.asarray(images.images["split"].to_pylist(), dtype=object)
    same = features.patient[pairs.first] == features.patient[pairs.second]
    across = split[pairs.first] != split[pairs.second]
    rows = [
        ImagePair(
            pair + 1,
            str(features.image_id[pairs.first[pair]]),
            str(features.image_id[pairs.second[pair]]),
            float(pairs.cosine[pair]),
            bool(same[pair]),
            bool(across[pair]),
        )
        for pair in range(min(len(pairs.first), max(_MOST, request.k)))
    ]
    made_at = datetime.now(UTC).replace(tzinfo=None)
    audit_id = new_result_id(made_at)
    fixed = {
        "audit_id": audit_id,
        "fingerprint": images.encoder.fingerprint,
        "made_at": made_at,
    }
    schema = pa.schema(
        [
            ("audit_id", pa.string()), ("fingerprint", pa.string()),
            ("made_at", pa.timestamp("us")), ("rank", pa.int64()),
            ("first_image_id", pa.string()), ("second_image_id", pa.string()),
            ("cosine", pa.float64()), ("same_patient", pa.bool_()),
            ("across_splits", pa.bool_()),
        ]
    )  # fmt: skip
    table = pa.Table.from_pylist([fixed | vars(one) for one in rows], schema)
    add_result(store, "duplicate_audits", table)
    return DuplicateAudit(
        audit_id,
        Listing.of(rows[: request.k], list(ImagePair.__dataclass_fields__)),
        len(pairs.first),
        int((~same).sum()),
        int(across.sum()),
        len(features.image_id),
        pairs.limit,
    )
