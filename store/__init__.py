"""Vectors on disk, everything else in a DuckDB catalog, both queried in SQL.

>>> from retune.store import FeatureStore  # FeatureStore("feature-store").sql("...")
"""

from .errors import RetuneError
from .feature_store import FeatureStore
from .fingerprint import EncoderSpec, content_digest
from .reading import (
    DescriptionVectors,
    EncoderRow,
    LabelledImages,
    choose_encoder,
    read_descriptions,
    read_labelled_images,
    read_vectors,
)
from .reconcile import ReconcileReport
from .runs import MetricValue, Run, add_metrics, find_run, record_run
from .writer import DatasetChange, FileState, ItemFailure, StoreWriter

__all__ = [
    "DatasetChange",
    "DescriptionVectors",
    "EncoderRow",
    "EncoderSpec",
    "FeatureStore",
    "FileState",
    "ItemFailure",
    "LabelledImages",
    "MetricValue",
    "ReconcileReport",
    "RetuneError",
    "Run",
    "StoreWriter",
    "add_metrics",
    "choose_encoder",
    "content_digest",
    "find_run",
    "read_descriptions",
    "read_labelled_images",
    "read_vectors",
    "record_run",
]
