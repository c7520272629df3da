"""What is in a store, and what is not yet."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from retune.store import FeatureStore
from retune.store.opening.kept_catalogs import opening_once

from ...datasets.contamination import Contaminated, count_contaminated
from ...datasets.leakage import Leak, find_leaks
from ..run_entries import RunEntry, list_runs
from .listing import Listing

__all__ = [
    "DatasetRow",
    "EncodedRow",
    "FailureRow",
    "LabelRow",
    "MissingRow",
    "StoreStatus",
    "list_datasets",
    "list_encoders",
    "store_status",
]

_LAST_RUNS = 10
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class DatasetRow:
    """A dataset: its images, patients and splits, and where its files lie."""

    dataset: str
    layout: str
    images: int
    patients: int
    train: int
    validation: int
    test: int
    root: str


@dataclass(frozen=True)
class EncodedRow:
    """An encoder and how many vectors the store has of it."""

    fingerprint: str
    backbone: str
    precision: str
    dim: int
    image_vectors: int
    text_vectors: int


@dataclass(frozen=True)
class MissingRow:
    """Images of a dataset without a vector of an encoder.

    Attributes:
        fingerprint: Fingerprint of the encoder; None where the store has none yet.
        backbone: Backbone of the encoder.
        dataset: The dataset.
        images: Images that `embed` would read.
        unusable: Further images that could not be used before.
    """

    fingerprint: str | None
    backbone: str | None
    dataset: str
    images: int
    unusable: int


@dataclass(frozen=True)
class LabelRow:
    """Images of all datasets by the state of one finding."""

    finding: str
    positive: int
    negative: int
    uncertain: int
    not_mentioned: int


@dataclass(frozen=True)
class FailureRow:
    """Why images could not be used."""

    stage: str
    error: str
    images: int


@dataclass(frozen=True)
class StoreStatus:
    """All that `status` tells.

    Attributes:
        path: The store's folder.
        datasets: A row per dataset.
        encoders: A row per encoder, oldest first.
        missing: What is not yet encoded; a row per encoder and dataset.
        labels: A row per finding.
        failures: The ten most frequent reasons.
        runs: The last ten runs, newest first.
        n_runs: How many there are.
        contaminated: Images of patients that a backbone was trained on.
        leaks: Patients and pictures that stand in several splits.
    """

    path: Path
    datasets: Listing[DatasetRow]
    encoders: Listing[EncodedRow]
    missing: Listing[MissingRow]
    labels: Listing[LabelRow]
    failures: Listing[FailureRow]
    runs: Listing[RunEntry]
    n_runs: int
    contaminated: tuple[Contaminated, ...]
    leaks: tuple[Leak, ...]

    @property
    def parts(self) -> dict[str, Listing[Any]]:
        """The tables under the names that a person reads."""
        return {
            "datasets": self.datasets,
            "encoders": self.encoders,
            "not yet encoded": self.missing,
            "labels": self.labels,
            "images that could not be used": self.failures,
            "runs": self.runs,
        }

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        tables = {name: part.records() for name, part in self.parts.items()}
        leaks = [vars(leak) for leak in self.leaks]
        known = [vars(one) for one in self.contaminated]
        return tables | {
            "n_runs": self.n_runs, "contaminated": known, "leakage": leaks,
        }  # fmt: skip

    def __repr__(self) -> str:
        lines = [f"feature store {self.path}"]
        for name, part in self.parts.items():
            lines += ["", name, repr(part)] if part else ["", f"{name}: none"]
        lines += [
            "",
            f"leakage: {len(self.leaks)} kinds" if self.leaks else "no leakage",
        ]
        return "\n".join(lines)


@opening_once
def store_status(store: FeatureStore) -> StoreStatus:
    """Look at a store as a whole."""
    runs = list_runs(store)
    return StoreStatus(
        path=store.path,
        datasets=list_datasets(store),
        encoders=list_encoders(store),
        missing=_rows(store, MissingRow, _MISSING),
        labels=_rows(store, LabelRow, _LABELS),
        failures=_rows(store, FailureRow, _FAILURES),
        runs=runs[:_LAST_RUNS],
        n_runs=len(runs),
        contaminated=tuple(count_contaminated(store)),
        leaks=tuple(find_leaks(store)),
    )


def list_datasets(store: FeatureStore) -> Listing[DatasetRow]:
    """The datasets, by name."""
    return _rows(store, DatasetRow, _DATASETS)


def list_encoders(store: FeatureStore) -> Listing[EncodedRow]:
    """The encoders, oldest first."""
    return _rows(store, EncodedRow, _ENCODERS)


def _rows(store: FeatureStore, row_type: type[_Row], query: str) -> Listing[_Row]:
    rows = [row_type(*row) for row in store.rows(query)]
    names = [field.name for field in fields(row_type)]  # type: ignore[arg-type]  # a dataclass
    return Listing.of(rows, names)


_DATASETS = """SELECT dataset, layout, count(*) AS images,
        count(DISTINCT patient_id) AS patients,
        count(*) FILTER (split = 'train') AS train,
        count(*) FILTER (split = 'validation') AS validation,
        count(*) FILTER (split = 'test') AS test, any_value(root) AS root
    FROM images JOIN datasets USING (dataset) GROUP BY ALL ORDER BY dataset"""
_ENCODERS = """SELECT fingerprint, backbone, precision, dim,
        count(item_id) FILTER (modality = 'image') AS image_vectors,
        count(item_id) FILTER (modality = 'text') AS text_vectors
    FROM encoders LEFT JOIN features USING (fingerprint)
    GROUP BY ALL ORDER BY any_value(added_at), fingerprint"""
# Digests are compared by 16 bytes of theirs, so that millions fit into memory.
_MISSING = """WITH known AS (
        SELECT fingerprint, backbone, added_at FROM encoders
        UNION ALL SELECT NULL, NULL, NULL WHERE NOT EXISTS (FROM encoders)),
    done AS (SELECT fingerprint, md5_number(item_id) AS code FROM features
        WHERE modality = 'image'),
    lacking AS (SELECT image_id, dataset, known.*
        FROM (SELECT image_id, dataset, md5_number(content_digest) AS code FROM images)
            AS images
        CROSS JOIN known
        LEFT JOIN done ON done.code = images.code
            AND done.fingerprint = known.fingerprint
        WHERE done.code IS NULL)
    SELECT fingerprint, backbone, dataset,
        count(*) FILTER (refused.image_id IS NULL) AS images,
        count(refused.image_id) AS unusable
    FROM lacking LEFT JOIN (SELECT DISTINCT image_id FROM failures) AS refused
        USING (image_id)
    GROUP BY ALL ORDER BY any_value(added_at), fingerprint, dataset"""
_LABELS = """SELECT finding, count(*) FILTER (state = 'positive') AS positive,
        count(*) FILTER (state = 'negative') AS negative,
        count(*) FILTER (state = 'uncertain') AS uncertain,
        count(*) FILTER (state = 'absent') AS not_mentioned
    FROM labels GROUP BY finding ORDER BY positive DESC, finding"""
_FAILURES = """SELECT stage, error, count(DISTINCT image_id) AS images
    FROM failures GROUP BY ALL ORDER BY images DESC, error LIMIT 10"""
