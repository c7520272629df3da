"""Vectors on disk, everything else in a DuckDB catalog, both queried in SQL.

>>> from retune.store import FeatureStore  # FeatureStore("feature-store").sql("...")

Names are loaded when they are first used: `retune-cli --help` needs the errors, not
NumPy, DuckDB and Arrow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .changes.entering import DatasetChange, FileState, ItemFailure
    from .changes.reconcile import ReconcileReport
    from .changes.writer import StoreWriter
    from .errors import RetuneError
    from .feature_store import FeatureStore
    from .fingerprint import EncoderSpec, content_digest
    from .queries.bulk import read_vectors
    from .queries.labelled import (
        DescriptionVectors,
        EncoderRow,
        LabelledImages,
        choose_encoder,
        read_descriptions,
        read_labelled_images,
    )
    from .runs import MetricValue, Run, add_metrics, find_run, record_run

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

_HOMES = {
    "changes.entering": ("DatasetChange", "FileState", "ItemFailure"),
    "changes.reconcile": ("ReconcileReport",),
    "runs": ("MetricValue", "Run", "add_metrics", "find_run", "record_run"),
    "changes.writer": ("StoreWriter",),
    "errors": ("RetuneError",),
    "feature_store": ("FeatureStore",),
    "fingerprint": ("EncoderSpec", "content_digest"),
    "queries.labelled": (
        "DescriptionVectors",
        "EncoderRow",
        "LabelledImages",
        "choose_encoder",
        "read_descriptions",
        "read_labelled_images",
    ),
    "queries.bulk": ("read_vectors",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
